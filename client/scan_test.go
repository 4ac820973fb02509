package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
)

func scan(t *testing.T, c *client.Client, key string) {
	ctx := t.Context()
	var keys []string
	for i := range 300 { // over all shards
		keys = append(keys, fmt.Sprintf("%s/%03d", key, i))
	}
	for i := range 2500 { // in more than two pages of one
		keys = append(keys, fmt.Sprintf("%s/{tag}%04d", key, i))
	}
	var all []client.Object
	for i, k := range keys {
		switch o := (client.Object{Key: k, Type: crdt.Types[i%3], Len: 1}); o.Type {
		case crdt.TypeCounter:
			_, err := c.Counter(k).Add(ctx, 1)
			want(t, "add", 0, err, 0, nil)
			all = append(all, o)
		case crdt.TypeSet:
			o.Len = i%5 + 1
			_, err := c.Set(k).Add(ctx, strings.Split("abcde"[:o.Len], "")...)
			want(t, "add", 0, err, 0, nil)
			all = append(all, o)
		default:
			want(t, "set", 0, c.Register(k).Set(ctx, nil), 0, nil)
			all = append(all, o)
		}
	}
	for _, test := range []client.ScanOptions{
		{Prefix: key + "/"}, {Prefix: key + "/", Type: crdt.TypeSet}, {Prefix: key + "/", Limit: 10}, {Prefix: key + "/", Limit: len(all) + 1},
		{Prefix: key + "/{tag}"}, {Prefix: key + "/{tag}1", Type: crdt.TypeCounter}, {Prefix: key + "/{ta"}, {Prefix: key + "/1"}, {Prefix: key + "/{}"},
	} {
		expected := slices.DeleteFunc(slices.Clone(all), func(o client.Object) bool {
			return !strings.HasPrefix(o.Key, test.Prefix) || test.Type != 0 && o.Type != test.Type
		})
		if test.Limit > 0 {
			expected = expected[:min(len(expected), test.Limit)]
		}
		var got []client.Object
		for o, err := range c.Scan(ctx, test) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, o)
		}
		if !slices.Equal(got, expected) {
			t.Errorf("%+v: %d objects, want %d", test, len(got), len(expected))
		}
	}
	for range c.Scan(ctx, client.ScanOptions{}) {
		break // must not go on
	}
	for what, o := range map[string]client.ScanOptions{
		"prefix": {Prefix: strings.Repeat("k", crdt.MaxKeyBytes+1)}, "type": {Type: 9}, "limit": {Limit: -1},
	} {
		n := 0
		for _, err := range c.Scan(ctx, o) {
			if n++; n > 1 || !errors.Is(err, client.ErrInvalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: no error", what)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	for _, failed = range c.Scan(ended, client.ScanOptions{Prefix: key}) {
		cancel()
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("a scan of which the context ends: %v", failed)
	}
}
