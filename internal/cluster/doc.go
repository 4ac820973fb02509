// Package cluster runs members as processes of their own, on loopback, to see
// what no test within one process can: that a member killed at any moment
// comes back with all it had acknowledged.
//
//	build.go    Build: crdtd, from this module's source
//	cluster.go  Cluster: one member in each region, each told of the others
//	member.go   Member: start, ready, kill, stop; what it logged
//	pause.go    Member: pause, resume
//	converge.go Cluster: wait until all members agree
//
// The caller owes a Close, which kills what still runs. Only processes that
// were started here are ever signalled, by their handle.
//
// The promises themselves are in the tests, and in internal/soak.
package cluster
