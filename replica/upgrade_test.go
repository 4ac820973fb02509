package replica

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/memstore"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// downgraded returns what the last program of format 2 would have on disk in the
// place of a store of format 3: the inverse of an upgrade, held against what that
// program wrote by TestOldFormatIsWhatItWas.
func downgraded(t testing.TB, s store.Store) *disk {
	t.Helper()
	snap := s.Snapshot()
	defer snap.Close()
	found, err := readIdentity(snap)
	if err != nil {
		t.Fatal(err)
	}
	old := &disk{Store: memstore.New()}
	err = snap.Scan(nil, nil, func(key, value []byte) error {
		var b store.Batch
		switch {
		case key[0] == 'c':
			value, err := json.Marshal(map[string]any{
				"format": 2, "cluster": found.Cluster, "member": found.Member, "region": found.Region, "shards": found.Shards,
				"place": found.Place, "scrubbed": found.Scrubbed, "digest": found.Digest,
			})
			if err != nil {
				return err
			}
			b.Put([]byte("c"), value)
		case int(binary.BigEndian.Uint16(key[1:])) == found.Shards, key[0] == 's': // there were none
		case bytes.IndexByte([]byte("emh"), key[0]) >= 0:
			unsealed, sound := unseal(key, value)
			if !sound {
				t.Errorf("%x is damaged before", key)
			}
			b.Put(bytes.Clone(key), unsealed)
		case bytes.IndexByte([]byte("lv"), key[0]) >= 0:
			b.Put(bytes.Clone(key), value)
		default:
			t.Errorf("%x has no place in format 2", key)
		}
		return old.Store.Commit(&b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return old
}

// clone returns a disk with the same on it.
func (d *disk) clone(t *testing.T) *disk {
	t.Helper()
	snap := d.Snapshot()
	defer snap.Close()
	var b store.Batch
	err := snap.Scan(nil, nil, func(key, value []byte) error {
		b.Put(bytes.Clone(key), bytes.Clone(value))
		return nil
	})
	same := &disk{Store: memstore.New()}
	if err := errors.Join(err, same.Store.Commit(&b)); err != nil {
		t.Fatal(err)
	}
	return same
}

// format2 returns the directory in testdata/format2.txt, which the last program of
// format 2 wrote for eu: what formatOps do there, with a clock that stands still.
func format2(t *testing.T) *disk {
	t.Helper()
	text, err := os.ReadFile("testdata/format2.txt")
	if err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		k, keyErr := hex.DecodeString(key)
		v, valueErr := hex.DecodeString(value)
		if err := errors.Join(keyErr, valueErr); err != nil {
			t.Fatal(err)
		}
		b.Put(k, v)
	}
	d := &disk{Store: memstore.New()}
	if err := d.Store.Commit(&b); err != nil {
		t.Fatal(err)
	}
	return d
}

var formatOps = [][]*pb.Operation{
	{incr("likes", 5)}, {incr("likes", -2)},
	{incr("reset", 7)}, {reset("reset")},
	{add("{u}:cart", "apple", "fig", "")},
	{remove("{u}:cart", "fig"), set("{u}:name", "Ada")}, {set("{u}:name", "Grace")},
	{set("gone", "x")}, {del("gone", 0)},
}

// holdsFormatOps checks what formatOps have left.
func (m *member) holdsFormatOps() {
	t := m.cluster.t
	t.Helper()
	if likes, gone := m.number(count("likes")), m.number(count("reset")); likes != 3 || gone != 0 {
		t.Errorf("%s: the counters are %d and %d, want 3 and 0", m.options.Member, likes, gone)
	}
	if cart, n := m.elements("{u}:cart"), m.number(card("{u}:cart")); !slices.Equal(cart, []string{"", "apple"}) || n != 2 {
		t.Errorf("%s: the set has %q, %d by its header", m.options.Member, cart, n)
	}
	if name, gone := m.values("{u}:name"), m.values("gone"); !slices.Equal(name, []string{"Grace"}) || len(gone) > 0 {
		t.Errorf("%s: the registers are %q and %q", m.options.Member, name, gone)
	}
}

func TestOldFormatIsWhatItWas(t *testing.T) {
	m := &member{cluster: &cluster{t: t}, options: testOptions("eu"), disk: &disk{Store: memstore.New()}}
	actors := crdt.Actor(0)
	m.options.Now = func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	m.options.NewActor = func() crdt.Actor { actors++; return actors }
	m.options.Place = func(bool) (string, error) { return "here", nil }
	m.open()
	for _, ops := range formatOps {
		m.do(ops...)
	}
	m.stop()
	got, want := downgraded(t, m.disk), format2(t)
	for key, value := range contents(t, want) {
		if now := contents(t, got)[key]; now != value {
			t.Errorf("%x is %x, and was %x", key, now, value)
		}
	}
	if a, b := len(contents(t, got)), len(contents(t, want)); a != b {
		t.Errorf("%d keys, and it was %d", a, b)
	}
	identityOf := func(d *disk) string {
		snap := d.Snapshot()
		defer snap.Close()
		found, err := readIdentity(snap)
		return fmt.Sprintf("%+v, %v", found, err)
	}
	if identityOf(got) != identityOf(want) {
		t.Errorf("it was made for %s, and was for %s", identityOf(got), identityOf(want))
	}
}

// A directory that a program of format 2 wrote is opened, holds what it held, and
// its member goes on under its actor and converges with others.
func TestUpgrade(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	eu := c.startOn("eu", format2(t), func(o *Options) {
		o.Place = func(bool) (string, error) { return "here", nil }
	})
	eu.holdsFormatOps()
	audit(t, eu.disk, eu.options)
	us := c.start("us", nil)
	us.do(incr("likes", 10))
	us.do(incr("likes", -10))
	eu.do(add("{u}:cart", "pear"))
	eu.do(remove("{u}:cart", "pear"))
	c.converge()
	eu.holdsFormatOps()
	us.holdsFormatOps()
	if n := len(us.State(shardOf("{u}")).Vector); n != 1 {
		t.Errorf("eu has written under %d actors, want one", n)
	}
	writes := eu.disk.committed()
	eu.restart(nil)
	eu.holdsFormatOps()
	if again := eu.disk.committed() - writes; again > 3 {
		t.Errorf("the next start made %d commits", again)
	}
}

// An upgraded member is given shards by the table of members like any other.
func TestUpgradedMembersArePlaced(t *testing.T) {
	c := newCluster(t, memnet.Options{})
	plain := func(o *Options) { o.Region = "eu" }
	before := []*member{c.start("eu-1", plain), c.start("eu-2", plain)}
	for i := range 100 {
		before[i%2].do(incr(fmt.Sprint("key", i), int64(i+1)))
	}
	c.converge()
	before[1].do(incr("key0", 1000)) // perhaps nobody else hears of it
	for _, m := range before {
		m.stop()
	}
	c.members = nil
	for _, m := range before {
		c.startOn(m.options.Member, downgraded(t, m.disk), inRegion("eu"))
	}
	c.start("us-1", inRegion("us"))
	c.agreeOnAll()
	for _, region := range []string{"eu", "us"} {
		for i := range 100 {
			want := int64(i + 1)
			if i == 0 {
				want += 1000
			}
			key := fmt.Sprint("key", i)
			eventually(t, key+" is there", func() bool { return c.anyOwner(region, shardOf(key)).number(count(key)) == want })
		}
	}
}

// errKilled is what a process sees no more of.
var errKilled = errors.New("killed")

// An upgrade that is killed at any batch, before or after it was applied, leaves
// what no program takes for its own, goes on at the next start, and ends as one
// that was not interrupted.
func TestUpgradeGoesOn(t *testing.T) {
	m := &member{cluster: &cluster{t: t}, options: testOptions("eu"), disk: &disk{Store: memstore.New()}}
	m.open()
	for i := range 40 {
		m.do(incr(fmt.Sprint("n", i), 1))
	}
	m.fill("large", names(maxTrimmed+100, "e")) // does not fit into a batch
	m.do(set("long", strings.Repeat("x", crdt.MaxValueBytes)))
	m.stop()
	want := contents(t, m.disk)
	maps.DeleteFunc(want, func(key, _ string) bool { return key[0] == 's' })
	before := downgraded(t, m.disk)
	old := contents(t, before)
	open := func(d *disk) error {
		r, err := Open(m.options, d)
		if err == nil {
			err = r.Close()
		}
		return err
	}
	batches := 0
	for killedAt := 1; ; killedAt++ {
		d := before.clone(t)
		applied := killedAt%2 == 0
		kill := func(at int) {
			n := 0
			d.onCommit(func(_ *store.Batch, commit func() error) error {
				if n++; n < at {
					return commit()
				}
				if n == at && applied {
					return errors.Join(commit(), errKilled)
				}
				return errKilled
			})
		}
		kill(killedAt)
		if err := open(d); err == nil {
			batches = killedAt - 1
			break
		} else if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		snap := d.Snapshot()
		found, err := readIdentity(snap)
		snap.Close()
		whole := contents(t, d)
		maps.DeleteFunc(whole, func(key, _ string) bool { return key[0] == 's' })
		switch {
		case err != nil:
			t.Fatal(err)
		case found.Format == OldestFormat && maps.Equal(whole, old), found.Format == Format && maps.Equal(whole, want), found.Format == upgrading:
		default:
			t.Errorf("killed at batch %d, it says it has format %d", killedAt, found.Format)
		}
		kill(2) // every start gets a little further
		for err = errKilled; errors.Is(err, errKilled); err = open(d) {
			kill(2)
		}
		if err != nil {
			t.Fatalf("killed at batch %d: %v", killedAt, err)
		}
		after := contents(t, d)
		for shard := range testShards {
			_, held := after[string(vectorKey(shard))]
			if role, there := after[string(roleKey(shard))]; held != there || there && role[0] != byte(joining) {
				t.Errorf("killed at batch %d: shard %d is %x", killedAt, shard, role)
			}
			delete(after, string(roleKey(shard)))
		}
		if !maps.Equal(after, want) {
			t.Errorf("killed at batch %d, it ends with other contents", killedAt)
		}
		audit(t, d, m.options)
	}
	if batches < testShards {
		t.Errorf("it took %d batches only", batches)
	}
	t.Logf("%d batches", batches)
}

// A leaf that is not what its digest says is not sealed as if it was: what is in
// it is refused, and is repaired from a peer. A digest that alone is wrong is set
// right, and so are headers, also of what is not there.
func TestUpgradeSealsNoDamage(t *testing.T) {
	flip := func(v []byte) []byte { v[len(v)-1] ^= 1; return v }
	for name, test := range map[string]struct {
		key     []byte
		change  func([]byte) []byte // nil: it is lost
		refused bool                // what is read
	}{
		"an entry":             {elementKey("{x}s", "e"), flip, true},
		"entries, well-formed": {entryKey(shardOf("{x}"), counterField("{x}c").Position()), func(v []byte) []byte { v[len(v)-3] ^= 2; return v }, true},
		"a lost entry":         {elementKey("{x}s", "e"), nil, true},
		"a digest":             {leafKeyOf("{x}s"), flip, false},
		"a short digest":       {leafKeyOf("{x}s"), func(v []byte) []byte { return v[1:] }, false},
		"a lost digest":        {leafKeyOf("{x}s"), nil, false},
		"a header":             {setHeader("{x}s"), flip, false},
		"a lost header":        {setHeader("{x}s"), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, memnet.Options{})
			few := func(o *Options) { o.LogLimit = 1 } // nobody makes up for it
			eu, us := c.start("eu", few), c.start("us", few)
			eu.do(incr("{x}c", 5), add("{x}s", "e", "f"), set("{x}r", "right"))
			eu.do(set("{x}beside", "right"))
			eu.do(set("{x}beside", "right"))
			c.converge()
			eu.stop()
			eu.disk = downgraded(t, eu.disk)
			eu.rot(test.key, test.change)
			none := setHeader("{x}none")
			if err := eu.disk.Store.Commit(batchOf([]store.Write{{Key: none, Value: []byte{1}}})); err != nil {
				t.Fatal(err)
			}
			alone := &member{cluster: c, options: eu.options, disk: eu.disk.clone(t)}
			alone.open()
			if n := alone.number(card("{x}none")); n != 0 {
				t.Errorf("a set that is not there has %d elements", n)
			}
			_, err := alone.try(count("{x}c"), page("{x}s", "", 10))
			if err != nil != test.refused || err != nil && !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("before it meets a peer: %v", err)
			}
			alone.stop()
			eu.open() // nobody reads: it looks for what it has left
			eu.meet()
			if test.refused {
				eventually(t, "it is found", func() bool { return eu.Counters()["leaves_damaged"] > 0 })
			}
			eu.repaired()
			c.converge()
			for _, m := range []*member{eu, us} {
				if n, all := m.number(count("{x}c")), m.elements("{x}s"); n != 5 || !slices.Equal(all, []string{"e", "f"}) {
					t.Errorf("%s has %d and %q", m.options.Member, n, all)
				}
			}
		})
	}
}

// What is of no use to this program is refused before anything is changed, and it
// is said what is.
func TestOtherFormats(t *testing.T) {
	for format, says := range map[int]string{
		1:          "format 1 is too old; this Atoll reads 2 and 3: use an empty directory, which takes over what other members have",
		4:          "it was written by a newer Atoll, format 4; this one reads 2 and 3: start the newer one, or use an empty directory",
		unfinished: "a restore into it was not finished",
	} {
		d := format2(t)
		m := &member{cluster: &cluster{t: t}, options: testOptions("eu"), disk: d}
		m.rot([]byte("c"), func(v []byte) []byte {
			return bytes.Replace(v, []byte(`"format":2`), fmt.Appendf(nil, `"format":%d`, format), 1)
		})
		before := contents(t, d)
		if _, err := Open(m.options, d); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), says) {
			t.Errorf("format %d: %v, want one that says %q", format, err, says)
		}
		if !maps.Equal(before, contents(t, d)) || d.committed() > 0 {
			t.Errorf("format %d: it was changed", format)
		}
	}
	d := format2(t)
	options := testOptions("eu")
	options.Shards = 16
	if _, err := Open(options, d); !errors.Is(err, ErrForeign) || d.committed() > 0 {
		t.Errorf("of another cluster: %v, after %d commits", err, d.committed())
	}
}
