package metrics

import "github.com/atolldb/atoll/replica"

// Sample is how a member is at one moment.
type Sample struct {
	Cluster, Member, Region, Version string
	// Ready says that the member can answer reads.
	Ready   bool
	Engine  replica.Measures
	Store   Store
	Network Network
}

// Store is how the store is.
type Store struct {
	// Failed says that it refuses everything, or all commits, until it is
	// opened again.
	Failed bool
	// Used, Free and Reserve are bytes: what the store takes, what the file
	// system has left, and the part of that which the store leaves alone.
	Used, Free, Reserve int64
}

// Network is how the member's end of the network is.
type Network struct {
	Connected bool            // to its own server
	Routes    int             // connections to members of the own region
	Regions   map[string]bool // the other regions, and whether there is a link to each
	// Refused counts requests that were refused because too many were under
	// way, and Losses how often messages may have been lost on the way in.
	Refused, Losses uint64
	// Denied counts who was not let in, or did what it may not do.
	Denied uint64
}
