package client

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/crdt"
	pb "github.com/atolldb/atoll/proto"
)

// session is what a line of work has seen, by shard.
type session struct {
	mu   sync.Mutex
	seen map[int]crdt.VersionVector
}

// Session returns a client over the same connection, whose calls see what
// those before them wrote and saw, whichever member and region serves them:
// read your writes, and reads that never go back. A member that has not heard
// of it yet waits for it; when the time is up the call fails with ErrBehind.
// So a session is less available than a plain client: when its region is gone
// before others heard the last of it, they cannot go on with it; start another.
//
// Calls under way at the same time may see each other's writes or not. Close
// on either client closes the connection of both.
func (c *Client) Session() *Client {
	in := *c
	in.session = &session{seen: map[int]crdt.VersionVector{}}
	return &in
}

// Resume returns a session that has seen what Token told of another one. A
// token of another cluster, as far as that shows, or one that is damaged is
// ErrInvalid.
func (c *Client) Resume(token []byte) (*Client, error) {
	var t pb.Token
	if err := proto.Unmarshal(token, &t); err != nil {
		return nil, fmt.Errorf("%w: not a session token", ErrInvalid)
	}
	if n := int(t.GetShards()); n != c.shards {
		return nil, fmt.Errorf("%w: a session token of a cluster of %d shards; this one has %d", ErrInvalid, n, c.shards)
	}
	in := c.Session()
	for shard, vector := range t.GetVectors() {
		v, err := crdt.DecodeVector(vector)
		if err != nil || int(shard) >= c.shards {
			return nil, fmt.Errorf("%w: a damaged session token", ErrInvalid)
		}
		in.session.seen[int(shard)] = v
	}
	return in, nil
}

// Token returns what the session has seen so far, for Resume, here or
// elsewhere; nil if this client is no session. It grows with the number of
// shards that the session touched.
func (c *Client) Token() []byte {
	if c.session == nil {
		return nil
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	t := &pb.Token{Shards: uint32(c.shards), Vectors: map[uint32][]byte{}}
	for shard, v := range c.session.seen {
		t.Vectors[uint32(shard)] = v.AppendTo(nil)
	}
	token, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
	if err != nil {
		panic(err) // a message of numbers and bytes can be encoded
	}
	return token
}

// after returns what a request for a shard must wait for; nothing without a
// session.
func (s *session) after(shard int) []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.seen[shard]; ok {
		return v.AppendTo(nil)
	}
	return nil
}

// saw takes in what an answer may have shown.
func (s *session) saw(shard int, vector []byte) error {
	if s == nil {
		return nil
	}
	v, err := crdt.DecodeVector(vector)
	if err != nil {
		return fmt.Errorf("%w: an answer with a malformed vector: %w", ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[shard] == nil {
		s.seen[shard] = crdt.VersionVector{}
	}
	s.seen[shard].Join(v)
	return nil
}
