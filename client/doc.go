// Package client is how a Go program uses Atoll.
//
//	c, err := client.Connect(ctx, client.Options{Servers: []string{"127.0.0.1:4222"}})
//	n, err := c.Counter("likes:42").Add(ctx, 1)
//
// # Map
//
//	Connect, Client     a connection to the nearest region
//	Counter, Set,       handles: a key of a type; making one costs nothing
//	Register
//	Session, Resume,    calls that see what those before them saw, in every
//	Token               region
//	Delete, Types       what a key holds, whatever its type
//	Scan                the objects that there are, in the order of their keys
//	Status, Verify      what members say of themselves, and whether they agree
//	New, Asker          the same over a member in this process
//
// A write that returned nil is on disk in one region and on its way to all
// others. It is served by the region of the server that the client is
// connected to, or by the nearest other one if that region has no member left.
// What was written in one region shows in another as soon as it has arrived
// there; a Session waits for it.
//
// Handles and clients may be used concurrently. Every call takes a context;
// without a deadline it ends after Options.Timeout. Errors can be matched with
// errors.Is: ErrInvalid and its like were refused and changed nothing; after
// ErrOutcomeUnknown and ErrUnavailable a write may have been done or not. Sets
// and registers can simply be written again then, and a counter with AddOnce. Requests
// that surely were not served are sent again, for about half a second; increments
// are under an id and are sent again until there is an answer.
package client
