package memstore_test

import (
	"testing"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T, string) store.Store { return memstore.New() })
}
