// Package badgerstore keeps a store.Store on disk, in Badger v4.
//
//	options.go     Options and their defaults
//	store.go       Open, Close; Badger's settings and the reason of each
//	commit.go      batches that wait together become one transaction, one sync
//	snapshot.go    reads, from a transaction shared by all snapshots of a commit
//	dir.go, lock_* the directory: creating, locking, free space
//	verify.go      damage: what is checked, and the layout of a table
//	torn.go        damage in the middle of a log, and its layout
//	place*         telling a directory from its copies
//	background.go  reclaiming large values, checking tables
//	usage.go       what it takes of the disk; whether it has failed
//	gate.go        Close waits for the calls in progress
//
// # What survives
//
// A commit goes to the log of the memtable (and a value of 1 MiB or more to the
// value log before), both memory maps, which are synced (msync) before Commit
// returns if Durability is Fsync. The death of the process loses nothing in
// either mode: the pages belong to the system. At open Badger reads the logs up to the
// first entry that is torn or belongs to an unfinished transaction and cuts
// them there, so a batch is there whole or not at all.
//
// After the loss of power with Fsync, everything acknowledged is there. That
// relies on the file system making a new file's name durable with the file's
// first sync, as ext4, XFS and Btrfs do. With OS, any suffix of the commits may be gone,
// and if several logs were not written out yet, a part of the middle.
//
// Of a log that is damaged in the middle the rest is cut off. What is left is an
// older state, as a backup is: Open tells, and Place is another afterwards. Damage
// to the very last commit cannot be told from one that a kill has torn. Nor can a
// manifest that is damaged in the middle be told from one that is torn at the end:
// with its end go the tables it named. Who needs to know compares what it finds
// with its peers.
//
// # What it does not do
//
// It does not turn every failure into an error. Badger writes tables in its own
// goroutines, through memory maps: an input or output error there, or a disk
// that others fill past Options.ReserveBytes, ends the process. What was
// acknowledged is there after the next start.
package badgerstore
