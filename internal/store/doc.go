// Package store is the contract between the replica engine and the disk: an
// ordered map of byte strings with snapshots and atomic batches.
//
// It holds no implementation. internal/store/badgerstore keeps the data in
// Badger, internal/store/memstore in memory for tests; both pass
// internal/store/storetest. Concurrency control is the engine's business: each
// key has one writer, so a store never needs to detect conflicts.
package store
