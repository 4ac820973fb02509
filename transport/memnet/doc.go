// Package memnet is an in-memory network with the contract of package
// transport: regions of members, and between the regions links that delay,
// reorder, lose and repeat messages. It stands in for the NATS supercluster in
// tests, and counts what would have crossed the wire.
//
//	network.go   Network, Member, regions and cuts
//	link.go      one publisher's way into one region: faults, delay, order
//	publish.go   Publish and Subscribe: bounded queues
//	request.go   Request and Serve: groups, affinity, answers
//	traffic.go   counters
//
// It behaves as NATS does. A publication crosses to a region once, if anybody
// there subscribes to it, and is lost for that region as a whole or not at
// all. Requests go to the requester's region if the group has a member there.
// Where both directions between two regions are cut, a request finds nobody
// there and fails at once; where one is cut, request or answer vanishes and the
// requester waits for its context. With A-B cut, C does not relay.
//
// Faults are drawn from the seed, per publishing member and receiving region:
// the fate of the n-th message on such a way depends on nothing else. Time
// passes by Options.AfterFunc, which a simulator replaces; under
// testing/synctest the default is virtual already.
package memnet
