package badgerstore_test

import (
	"testing"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	"github.com/atolldb/atoll/internal/store/storetest"
)

func TestStore(t *testing.T) {
	for _, durability := range []badgerstore.Durability{badgerstore.Fsync, badgerstore.OS} {
		open := func(t *testing.T, dir string) store.Store {
			s, err := badgerstore.Open(badgerstore.Options{Dir: dir, Durability: durability})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		t.Run(string(durability), func(t *testing.T) {
			storetest.Run(t, open)
			storetest.RunDurable(t, open)
		})
	}
}
