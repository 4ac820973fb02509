package client

import (
	"testing"

	pb "github.com/atolldb/atoll/proto"
)

// What a member says of its move may be anything; a bar shows it.
func TestMoveTakesWhatMembersSay(t *testing.T) {
	for name, test := range map[string]struct {
		is   *pb.Move
		want Move
	}{
		"nothing":          {&pb.Move{}, Move{Shards: 8}},
		"by entries":       {&pb.Move{Taken: 1, Bytes: 9, Entries: 30, AllEntries: 40}, Move{Shards: 8, Taken: 1, Bytes: 9, Done: 0.75}},
		"nothing in them":  {&pb.Move{Taken: 2}, Move{Shards: 8, Taken: 2, Done: 0.25}},
		"all":              {&pb.Move{Taken: 8, Entries: 39, AllEntries: 40}, Move{Shards: 8, Taken: 8, Done: 1}},
		"more than all":    {&pb.Move{Taken: 9, Bytes: 1}, Move{Shards: 8, Taken: 8, Bytes: 1, Done: 1}},
		"more than others": {&pb.Move{Taken: 7, Entries: 50, AllEntries: 40}, Move{Shards: 8, Taken: 7, Done: 1}},
	} {
		m := Move{Shards: 8}
		if m.set(test.is); m != test.want {
			t.Errorf("%s: %+v, want %+v", name, m, test.want)
		}
	}
}
