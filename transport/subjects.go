package transport

import "strconv"

// The subjects of a cluster. Shard is the index of a shard, member a member's name.
const (
	// AllDeltas matches the delta subject of every shard.
	AllDeltas = "delta.*"
	// AllRequests matches the request subject of every shard.
	AllRequests = "kv.*"
	// Gossip carries what members say of themselves to all others.
	Gossip = "gossip"
	// Info is answered by any member: the cluster's name and number of shards.
	Info = "info"
	// OwnersGroup is the group in which the owners of a shard serve requests.
	OwnersGroup = "owners"
)

// Delta returns the subject on which events of the shard are broadcast.
func Delta(shard int) string { return "delta." + strconv.Itoa(shard) }

// Requests returns the subject on which owners of the shard serve requests.
func Requests(shard int) string { return "kv." + strconv.Itoa(shard) }

// Sync returns the subject on which a member serves other members: fetches,
// walks, summaries.
func Sync(member string) string { return "sync." + member }
