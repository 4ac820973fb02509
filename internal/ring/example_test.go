package ring_test

import (
	"fmt"

	"github.com/atolldb/atoll/internal/ring"
)

// Two keys with one tag share a shard, and so its owners.
func Example() {
	region := []ring.Member{
		{Name: "eu-1", Zone: "a", Weight: 1},
		{Name: "eu-2", Zone: "a", Weight: 1},
		{Name: "eu-3", Zone: "b", Weight: 1},
	}
	placement, err := ring.Place(region, 256, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range []string{"{user:42}:cart", "{user:42}:likes"} {
		shard := ring.Shard(key, placement.Shards())
		fmt.Println(key, shard, placement.Owners(shard))
	}
	// Output:
	// {user:42}:cart 234 [eu-3 eu-2]
	// {user:42}:likes 234 [eu-3 eu-2]
}
