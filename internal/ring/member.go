package ring

import (
	"errors"
	"fmt"
)

// VirtualNodes is how often a member of weight 1 stands on the ring.
const VirtualNodes = 128

// Bounds of what Place accepts. The work of Place, and 8 bytes of memory, go
// with members times shards.
const (
	MaxMembers = 256 // in one region
	MaxWeight  = 256
	MaxOwners  = 16 // of a shard in one region
)

// ErrInvalid says that there is no placement for what was passed to Place; the
// wrapping error says why.
var ErrInvalid = errors.New("ring: no placement")

// Member is what placement needs to know of a member of a region.
type Member struct {
	Name   string // unique within the region, not empty
	Zone   string // members of one zone tend to fail together; all without a zone are in one
	Weight int    // how much it holds relative to others, 1..MaxWeight
}

func validate(members []Member, shards, rf int) error {
	if shards < 1 || shards > MaxShards {
		return fmt.Errorf("%w: %d shards, want 1 to %d", ErrInvalid, shards, MaxShards)
	}
	if rf < 1 || rf > MaxOwners {
		return fmt.Errorf("%w: replication factor %d, want 1 to %d", ErrInvalid, rf, MaxOwners)
	}
	if len(members) > MaxMembers {
		return fmt.Errorf("%w: %d members in a region, want at most %d", ErrInvalid, len(members), MaxMembers)
	}
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		switch {
		case m.Name == "":
			return fmt.Errorf("%w: a member has no name", ErrInvalid)
		case seen[m.Name]:
			return fmt.Errorf("%w: two members are named %q, want distinct names", ErrInvalid, m.Name)
		case m.Weight < 1 || m.Weight > MaxWeight:
			return fmt.Errorf("%w: member %q has weight %d, want 1 to %d", ErrInvalid, m.Name, m.Weight, MaxWeight)
		}
		seen[m.Name] = true
	}
	return nil
}
