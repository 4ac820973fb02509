package replica

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/transport/memnet"
)

// Concurrent values of one register that do not fit together do not keep the
// shard from converging, neither by events nor by walks: the earliest go, the one
// that is shown stays, and who has seen what is left may replace it.
func TestCrowdedRegister(t *testing.T) {
	for _, members := range []int{4, 7}[:scaled(2, 1)] {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			seed := seeded(t)
			c := newCluster(t, memnet.Options{})
			limits := func(o *Options) { o.LogLimit = []int{2, 4096}[seed.IntN(2)] }
			for i := range members {
				c.start(fmt.Sprintf("r%d", i), func(o *Options) {
					limits(o)
					ahead := time.Duration(i) * time.Millisecond // so that no two write at one time
					o.Now = func() time.Time { return time.Now().Add(ahead) }
				})
			}
			c.converge()
			register, counter := keyIn(0, "r", 0), keyIn(0, "c", 0)
			for _, m := range c.members {
				c.network.CutRegion(m.options.Region)
			}
			for i, m := range c.members {
				m.do(set(register, string(bytes.Repeat([]byte{byte(i)}, crdt.MaxValueBytes))))
				m.do(incr(counter, 1))
			}
			for _, i := range seed.Perm(members) {
				c.network.RestoreRegion(c.members[i].options.Region)
			}
			c.settle()
			late := c.start("late", limits)
			c.settle()
			for _, m := range c.members {
				if n := m.number(count(counter)); n != int64(members) {
					t.Errorf("%s: the counter beside it is %d, want %d", m.options.Member, n, members)
				}
				values := m.values(register)
				if n := len(values); n == 0 || n > crdt.MaxSiblingsBytes/crdt.MaxValueBytes {
					t.Errorf("%s has %d values", m.options.Member, n)
				} else if shown := values[0][0]; int(shown) != members-1 {
					t.Errorf("%s shows value %d, want the last, %d", m.options.Member, shown, members-1)
				}
			}
			removed := uint64(0)
			for _, m := range c.members {
				removed += m.Counters()["siblings_removed"]
			}
			if fit := crdt.MaxSiblingsBytes / crdt.MaxValueBytes; removed < uint64(members-fit) {
				t.Errorf("it is told that %d of %d values were removed, %d fit", removed, members, fit)
			}
			late.do(set(register, "short"))
			c.settle()
			for _, m := range c.members {
				if values := m.values(register); len(values) != 1 || values[0] != "short" {
					t.Errorf("%s has %d values after one was written that had seen all", m.options.Member, len(values))
				}
			}
		})
	}
}
