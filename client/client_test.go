package client_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/server"
)

// startMember starts a member of the region "eu" with 8 shards, alone.
func startMember(t testing.TB) *server.Server {
	t.Helper()
	member, err := server.Start(context.Background(), server.Config{
		Region: "eu", Data: t.TempDir(), Shards: 8, Durability: "os",
		Listen: server.Listen{Client: "127.0.0.1:0"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	return member
}

func connect(t testing.TB, member *server.Server) *client.Client {
	t.Helper()
	c, err := client.Connect(context.Background(), client.Options{Servers: []string{member.Addresses().Client}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestClient is what a client does, in the process of a member and away from it.
func TestClient(t *testing.T) {
	member := startMember(t)
	fillBigSet(t, member.Client())
	for name, c := range map[string]*client.Client{"embedded": member.Client(), "remote": connect(t, member)} {
		t.Run(name, func(t *testing.T) {
			for _, test := range []struct {
				name string
				run  func(t *testing.T, c *client.Client, key string)
			}{
				{"Counter", counter},
				{"CounterOverflow", counterOverflow},
				{"Set", set},
				{"SetMembers", setMembers},
				{"Register", register},
				{"DeleteAndTypes", deleteAndTypes},
				{"Scan", scan},
				{"Invalid", invalid},
				{"Context", contexts},
				{"Concurrent", concurrent},
				{"StatusAndVerify", statusAndVerify},
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, c, name+"/"+test.name) })
			}
		})
	}
}

// want compares what a call returned; the error must match if there is one.
func want[V comparable](t *testing.T, what string, got V, err error, value V, kind error) {
	t.Helper()
	if !errors.Is(err, kind) || kind == nil && err != nil || got != value {
		t.Errorf("%s: %v, %v; want %v, %v", what, got, err, value, kind)
	}
}

func counter(t *testing.T, c *client.Client, key string) {
	ctx, counter := t.Context(), c.Counter(key)
	n, err := counter.Value(ctx)
	want(t, "a counter never written", n, err, 0, nil)
	n, err = counter.Add(ctx, 7)
	want(t, "add", n, err, 7, nil)
	n, err = counter.Add(ctx, -10)
	want(t, "take away", n, err, -3, nil)
	n, err = counter.Value(ctx)
	want(t, "value", n, err, -3, nil)
	want(t, "reset", 0, counter.Reset(ctx), 0, nil)
	n, err = counter.Value(ctx)
	want(t, "value after reset", n, err, 0, nil)
	n, err = counter.Add(ctx, 2)
	want(t, "add after reset", n, err, 2, nil)
}

func counterOverflow(t *testing.T, c *client.Client, key string) {
	ctx, counter := t.Context(), c.Counter(key)
	n, err := counter.Add(ctx, math.MaxInt64)
	want(t, "add", n, err, math.MaxInt64, nil)
	n, err = counter.Add(ctx, 1)
	want(t, "overflow", n, err, 0, client.ErrOverflow)
	n, err = counter.Value(ctx)
	want(t, "value after the refusal", n, err, math.MaxInt64, nil)
}

func set(t *testing.T, c *client.Client, key string) {
	ctx, set := t.Context(), c.Set(key)
	n, err := set.Add(ctx, "a", "b", "", "\x00\xff")
	want(t, "add", n, err, 4, nil)
	n, err = set.Add(ctx, "b", "c")
	want(t, "add again", n, err, 1, nil)
	n, err = set.Remove(ctx, "a", "never there")
	want(t, "remove", n, err, 1, nil)
	n, err = set.Len(ctx)
	want(t, "len", n, err, 4, nil)
	for element, there := range map[string]bool{"a": false, "b": true, "": true, "\x00\xff": true, "d": false} {
		has, err := set.Has(ctx, element)
		want(t, fmt.Sprintf("has %q", element), has, err, there, nil)
	}
	n, err = c.Set(key + "/none").Len(ctx)
	want(t, "len of a set never written", n, err, 0, nil)
}

// bigSet has several pages.
const (
	bigSet   = "a big set"
	elements = 25_000
)

func fillBigSet(t *testing.T, c *client.Client) {
	const chunk = 2500
	for from := 0; from < elements; from += chunk {
		batch := make([]string, chunk)
		for i := range batch {
			batch[i] = fmt.Sprint("element ", from+i)
		}
		n, err := c.Set(bigSet).Add(t.Context(), batch...)
		want(t, "add", n, err, chunk, nil)
	}
}

func setMembers(t *testing.T, c *client.Client, key string) {
	ctx, set := t.Context(), c.Set(bigSet)
	seen := make(map[string]bool, elements)
	for element, err := range set.Members(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[element] {
			t.Fatalf("%q was seen twice", element)
		}
		seen[element] = true
	}
	for i := range elements {
		if !seen[fmt.Sprint("element ", i)] {
			t.Fatalf("element %d was not seen", i)
		}
	}
	if len(seen) != elements {
		t.Errorf("%d elements; want %d", len(seen), elements)
	}
	for range set.Members(ctx) {
		break // must not go on
	}
	for element, err := range c.Set(key + "/none").Members(ctx) {
		t.Errorf("a set never written has %q, %v", element, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	var failed error
	for _, failed = range set.Members(ended) {
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("members with an ended context: %v", failed)
	}
}

func register(t *testing.T, c *client.Client, key string) {
	ctx, register := t.Context(), c.Register(key)
	_, err := register.Get(ctx)
	want(t, "get of none", 0, err, 0, client.ErrNotFound)
	_, err = register.Siblings(ctx)
	want(t, "siblings of none", 0, err, 0, client.ErrNotFound)

	before := time.Now().Add(-time.Second)
	for _, value := range []string{"one", "", strings.Repeat("x", crdt.MaxValueBytes)} {
		want(t, "set", 0, register.Set(ctx, []byte(value)), 0, nil)
		got, err := register.Get(ctx)
		if string(got) != value || err != nil {
			t.Errorf("get: %d bytes, %v; want %d", len(got), err, len(value))
		}
	}
	siblings, err := register.Siblings(ctx)
	if err != nil || len(siblings) != 1 {
		t.Fatalf("%d siblings, %v; want 1", len(siblings), err)
	}
	if s := siblings[0]; s.Time.Before(before) || s.Time.After(time.Now().Add(time.Second)) || s.Actor == 0 {
		t.Errorf("written at %v by %v", s.Time, s.Actor)
	}
}

func deleteAndTypes(t *testing.T, c *client.Client, key string) {
	ctx := t.Context()
	types := func(want ...crdt.Type) {
		t.Helper()
		if got, err := c.Types(ctx, key); err != nil || !slices.Equal(got, want) {
			t.Errorf("types: %v, %v; want %v", got, err, want)
		}
	}
	types()
	n, err := c.Delete(ctx, key)
	want(t, "delete of nothing", n, err, 0, nil)

	_, err = c.Set(key).Add(ctx, "a")
	want(t, "add", 0, err, 0, nil)
	types(crdt.TypeSet)
	_, err = c.Register(key).Get(ctx)
	want(t, "get", 0, err, 0, client.ErrNotFound)
	if !strings.Contains(fmt.Sprint(err), "the key holds a set") {
		t.Errorf("get of a key that holds a set: %v", err)
	}
	_, err = c.Counter(key).Add(ctx, 1)
	want(t, "add", 0, err, 0, nil)
	want(t, "set", 0, c.Register(key).Set(ctx, []byte("a")), 0, nil)
	types(crdt.TypeCounter, crdt.TypeSet, crdt.TypeRegister)

	n, err = c.Delete(ctx, key)
	want(t, "delete", n, err, 3, nil)
	types()
}

// invalid is refused with a text that says what is wrong and what is right,
// and changes nothing.
func invalid(t *testing.T, c *client.Client, key string) {
	ctx := t.Context()
	add := func(key string, elements ...string) error {
		_, err := c.Set(key).Add(ctx, elements...)
		return err
	}
	for name, test := range map[string]struct {
		err  error
		text string
	}{
		"empty key":       {add("", "a"), "the key is empty; it takes 1 to 4096 bytes"},
		"long key":        {add(strings.Repeat("k", 4097), "a"), "the key has 4097 bytes; at most 4096 are allowed"},
		"long element":    {add(key, "a", strings.Repeat("e", 32769)), "the element has 32769 bytes; at most 32768 are allowed"},
		"many elements":   {add(key, make([]string, 4097)...), "4097 elements; it takes at most 4096"},
		"long value":      {c.Register(key).Set(ctx, make([]byte, 1<<20+1)), "the value has 1048577 bytes; at most 1048576 are allowed"},
		"many bytes":      {add(key, slices.Repeat([]string{strings.Repeat("e", 32768)}, 40)...), "bytes; it takes at most"},
		"enormous value":  {c.Register(key).Set(ctx, make([]byte, 5<<20)), ""},
		"no such counter": {c.Counter("").Reset(ctx), "the key is empty"},
	} {
		if !errors.Is(test.err, client.ErrInvalid) || !strings.Contains(fmt.Sprint(test.err), test.text) {
			t.Errorf("%s: %.200v; want ErrInvalid, %s", name, test.err, test.text)
		}
		if strings.Contains(fmt.Sprint(test.err), "\n") {
			t.Errorf("%s: more than a line: %q", name, test.err)
		}
	}
	types, err := c.Types(ctx, key)
	want(t, "objects after refusals", len(types), err, 0, nil)
}

func contexts(t *testing.T, c *client.Client, key string) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for ctx, cause := range map[context.Context]error{canceled: context.Canceled, late: context.DeadlineExceeded} {
		n, err := c.Counter(key).Add(ctx, 1)
		want(t, "add", n, err, 0, client.ErrUnreachable)
		want(t, "add", n, err, 0, cause)
		_, err = c.Status(ctx, "", false)
		want(t, "status", 0, err, 0, cause)
		_, err = c.Verify(ctx, time.Second, nil)
		want(t, "verify", 0, err, 0, cause)
	}
	n, err := c.Counter(key).Value(t.Context())
	want(t, "value", n, err, 0, nil)
}

func concurrent(t *testing.T, c *client.Client, key string) {
	const writers, writes = 16, 50
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range writes {
				if _, err := c.Counter(key).Add(t.Context(), 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	n, err := c.Counter(key).Value(t.Context())
	want(t, "value", n, err, writers*writes, nil)
}

func statusAndVerify(t *testing.T, c *client.Client, key string) {
	ctx := t.Context()
	status, err := c.Status(ctx, "", true)
	if err != nil {
		t.Fatal(err)
	}
	if status.GetMember() != "eu" || status.GetRegion() != "eu" || len(status.GetShards()) != 9 || c.Shards() != 8 {
		t.Errorf("status %v of %d shards", status, c.Shards())
	}
	looks := 0
	report, err := c.Verify(ctx, time.Second, func(*client.Report) { looks++ })
	if err != nil || !report.Converged() || looks == 0 {
		t.Errorf("verify: %+v, %v after %d looks", report, err, looks)
	}
	if m := report.Members; len(m) != 1 || m[0].Events == 0 || m[0].Entries == 0 || m[0].Digest == "" || m[0].Digest != report.Digest {
		t.Errorf("members: %+v", m)
	}
	_, err = c.Status(ctx, "no such member", false)
	want(t, "status of a name that is none", 0, err, 0, client.ErrInvalid)
	_, err = c.Status(ctx, "ghost", false)
	want(t, "status of nobody", 0, err, 0, client.ErrUnreachable)
}
