package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolldb/atoll/replica"
)

// family is one metric with all its labels.
type family struct {
	description *prometheus.Desc
	collect     func(d *prometheus.Desc, s *Sample, out chan<- prometheus.Metric)
}

type labels []string

// tell gives out one value of a metric.
type tell func(value float64, labels ...string)

// values returns a family of counters or gauges that all tells.
func values(kind prometheus.ValueType, name, help string, names labels, all func(s *Sample, tell tell)) family {
	return family{
		prometheus.NewDesc(name, help, names, nil),
		func(d *prometheus.Desc, s *Sample, out chan<- prometheus.Metric) {
			all(s, func(value float64, labels ...string) {
				out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
			})
		},
	}
}

// one returns a family with one value.
func one(kind prometheus.ValueType, name, help string, value func(s *Sample) float64) family {
	return values(kind, name, help, nil, func(s *Sample, tell tell) { tell(value(s)) })
}

// truth is 1 for true and 0 for false.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// times returns a family of histograms that all tells.
func times(name, help string, names labels, all func(s *Sample, tell func(t *replica.Times, labels ...string))) family {
	return family{
		prometheus.NewDesc(name, help, names, nil),
		func(d *prometheus.Desc, s *Sample, out chan<- prometheus.Metric) {
			all(s, func(t *replica.Times, labels ...string) {
				buckets, below := map[float64]uint64{}, uint64(0)
				for i, bound := range replica.TimeBounds {
					below += t.Buckets[i]
					buckets[bound.Seconds()] = below
				}
				out <- prometheus.MustNewConstHistogram(d, t.Count(), t.Sum.Seconds(), buckets, labels...)
			})
		},
	}
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// families are all metrics of a member.
var families = append([]family{
	values(gauge, "atoll_member_info", "1; the labels say who this member is.", labels{"cluster", "member", "region", "version"},
		func(s *Sample, tell tell) { tell(1, s.Cluster, s.Member, s.Region, s.Version) }),
	one(gauge, "atoll_ready", "1 if the member can answer reads, else 0.",
		func(s *Sample) float64 { return truth(s.Ready) }),

	values(counter, "atoll_operations_total", "Operations of applications that were served here, by what they are and how they ended.", labels{"operation", "result"},
		func(s *Sample, tell tell) {
			for _, o := range s.Engine.Operations {
				tell(float64(o.Count), o.Kind, o.Result)
			}
		}),
	times("atoll_request_duration_seconds", "How long requests took to serve, from when the engine had them; one that writes anything is a write.", labels{"kind", "consistency"},
		func(s *Sample, tell func(*replica.Times, ...string)) {
			for i := range s.Engine.Requests {
				r := &s.Engine.Requests[i]
				tell(&r.Times, r.Kind, r.Level)
			}
		}),
	one(counter, "atoll_requests_refused_total", "Requests that were refused at once, because too many were under way.",
		func(s *Sample) float64 { return float64(s.Network.Refused) }),
	one(counter, "atoll_denied_total", "Connections that were not let in, and what those who were did that they may not do, at this member's server and by HTTP.",
		func(s *Sample) float64 { return float64(s.Network.Denied) }),
	times("atoll_commit_duration_seconds", "How long batches of writes took to the disk.", nil,
		func(s *Sample, tell func(*replica.Times, ...string)) { tell(&s.Engine.Commits) }),
	one(gauge, "atoll_queued_tasks", "Writes, events and others that wait for a write loop.",
		func(s *Sample) float64 { return float64(s.Engine.Queued) }),

	lag("atoll_peer_lag_events", "Events that this member has, and the peer was not heard to have.",
		func(p *replica.PeerLag) float64 { return float64(p.Lag) }),
	lag("atoll_peer_lag_seconds", "Age of the oldest of these events, as far as the log has them.",
		func(p *replica.PeerLag) float64 { return p.Age.Seconds() }),
	lag("atoll_peer_behind_events", "Events that the peer has, and this member lacks.",
		func(p *replica.PeerLag) float64 { return float64(p.Behind) }),
	lag("atoll_peer_silent_seconds", "Time since the peer was last heard of.",
		func(p *replica.PeerLag) float64 { return p.Silent.Seconds() }),
	values(gauge, "atoll_members", "Members of the table, this one included, by the state in which this one sees them.", labels{"state"},
		func(s *Sample, tell tell) {
			for state, n := range s.Engine.Members {
				tell(float64(n), state)
			}
		}),

	one(gauge, "atoll_network_connected", "1 if the member is connected to its NATS server, else 0.",
		func(s *Sample) float64 { return truth(s.Network.Connected) }),
	one(gauge, "atoll_route_connections", "Connections to members of the own region; several for each. 0 where the NATS servers are not the members'.",
		func(s *Sample) float64 { return float64(s.Network.Routes) }),
	values(gauge, "atoll_region_connected", "1 if there is a link to the other region, else 0.", labels{"peer_region"},
		func(s *Sample, tell tell) {
			for region, connected := range s.Network.Regions {
				tell(truth(connected), region)
			}
		}),
	one(counter, "atoll_message_losses_total", "How often messages may have been lost on the way in: the connection broke, or a queue was full.",
		func(s *Sample) float64 { return float64(s.Network.Losses) }),
	values(counter, "atoll_sent_bytes_total", "Bytes of messages sent, by what they are for, without what the network adds.", labels{"kind"},
		func(s *Sample, tell tell) {
			for _, t := range s.Engine.Traffic {
				tell(float64(t.Sent), t.Kind)
			}
		}),
	values(counter, "atoll_received_bytes_total", "Bytes of messages received, by what they are for, without what the network adds.", labels{"kind"},
		func(s *Sample, tell tell) {
			for _, t := range s.Engine.Traffic {
				tell(float64(t.Received), t.Kind)
			}
		}),

	values(counter, "atoll_repairs_total", "What was done to catch up, by kind: fetches of events, and Merkle sessions by cause.", labels{"kind"},
		func(s *Sample, tell tell) {
			for kind, n := range s.Engine.Repairs {
				tell(float64(n), kind)
			}
		}),
	one(gauge, "atoll_log_events", "Events that the logs hold at most, for peers that were away.",
		func(s *Sample) float64 { return float64(s.Engine.LogEvents) }),
	values(gauge, "atoll_copies", "Copies of shards of applications, by what they are.", labels{"state"},
		func(s *Sample, tell tell) {
			for state, n := range s.Engine.Copies {
				tell(float64(n), state)
			}
		}),
	one(counter, "atoll_joined_bytes_total", "Bytes that were taken over of shards that this member is to own.",
		func(s *Sample) float64 { return float64(s.Engine.JoinedBytes) }),
	one(gauge, "atoll_hinted_events", "Events that were written here in place of owners, and wait for them.",
		func(s *Sample) float64 { return float64(s.Engine.HintedEvents) }),
	one(gauge, "atoll_hinted_bytes", "Bytes of these events, about.",
		func(s *Sample) float64 { return float64(s.Engine.HintedBytes) }),
	one(gauge, "atoll_hint_limit_bytes", "How many there may be; more writes in place of owners are refused.",
		func(s *Sample) float64 { return float64(s.Engine.HintLimit) }),
	one(gauge, "atoll_shards", "Shards of which this member has a copy, the system shard included.",
		func(s *Sample) float64 { return float64(s.Engine.Shards) }),
	one(gauge, "atoll_shards_not_whole", "Copies that are catching up, or are damaged.",
		func(s *Sample) float64 { return float64(s.Engine.NotWhole) }),
	one(gauge, "atoll_shards_damaged", "Copies that are known to be damaged on disk.",
		func(s *Sample) float64 { return float64(s.Engine.Damaged) }),
	one(gauge, "atoll_shards_diverged", "Copies that differ from a peer's that has heard the same, which cannot be.",
		func(s *Sample) float64 { return float64(s.Engine.Diverged) }),

	one(gauge, "atoll_scrub_running", "1 while a scrub is running, else 0.",
		func(s *Sample) float64 { return truth(s.Engine.Scrub.GetRunning()) }),
	one(gauge, "atoll_scrub_progress_ratio", "The part of the scrub, or of the last one, that is done.",
		func(s *Sample) float64 { return s.Engine.Scrub.GetDone() }),
	one(gauge, "atoll_scrub_last_timestamp_seconds", "When the last scrub was finished, as Unix time; 0: never.",
		func(s *Sample) float64 { return float64(s.Engine.Scrub.GetLastMs()) / 1000 }),

	one(gauge, "atoll_store_failed", "1 if the store refuses to work until the member is restarted, else 0.",
		func(s *Sample) float64 { return truth(s.Store.Failed) }),
	one(gauge, "atoll_disk_used_bytes", "What the data directory takes on disk.",
		func(s *Sample) float64 { return float64(s.Store.Used) }),
	one(gauge, "atoll_disk_free_bytes", "What the file system of the data directory has left.",
		func(s *Sample) float64 { return float64(s.Store.Free) }),
	one(gauge, "atoll_disk_reserve_bytes", "The free space under which writes are refused.",
		func(s *Sample) float64 { return float64(s.Store.Reserve) }),
}, counters()...)

// lag returns a family with a value for each peer.
func lag(name, help string, value func(p *replica.PeerLag) float64) family {
	return values(gauge, name, help, labels{"peer", "peer_region"}, func(s *Sample, tell tell) {
		for i := range s.Engine.Peers {
			p := &s.Engine.Peers[i]
			tell(value(p), p.Member, p.Region)
		}
	})
}

// counted says under what name, and with what meaning, the engine's counters
// are told. Those without a name are told otherwise, above.
var counted = map[string]struct{ name, help string }{
	"commits":                  {},
	"commit_errors":            {"atoll_commit_errors_total", "Changes of shards that could not be brought to disk."},
	"events_received":          {"atoll_events_received_total", "Events of peers that arrived by broadcast and were new."},
	"events_applied":           {"atoll_events_applied_total", "Events of peers that were applied."},
	"events_dropped":           {"atoll_events_dropped_total", "Events of peers that found no room; they are fetched later."},
	"events_fetched":           {"atoll_events_fetched_total", "Events that came from the logs of peers."},
	"walks":                    {},
	"fields_pulled":            {"atoll_fields_pulled_total", "Fields that came by Merkle sessions, or for damaged leaves."},
	"sync_bytes":               {},
	"divergences":              {"atoll_divergences_total", "How often a shard was found to differ from a peer's that had heard the same."},
	"repair_errors":            {"atoll_repair_errors_total", "Fetches and Merkle sessions that failed; they are tried again."},
	"read_repairs":             {"atoll_read_repairs_total", "How often a read found an owner behind, which was told what it lacks."},
	"read_repairs_left":        {"atoll_read_repairs_left_total", "How often a read found an owner behind while too many were being told; it hears by gossip."},
	"messages_unsent":          {"atoll_messages_unsent_total", "Broadcasts that could not be sent; peers catch up from the log."},
	"messages_malformed":       {"atoll_messages_malformed_total", "Messages that were refused because they make no sense."},
	"messages_forbidden":       {"atoll_messages_forbidden_total", "Requests of users for what they may not do."},
	"messages_protocol":        {"atoll_messages_protocol_total", "Messages of a protocol that this member does not speak, which were refused."},
	"messages_foreign":         {"atoll_messages_foreign_total", "Messages of members of another cluster, or with another secret."},
	"actors_lost":              {"atoll_actors_lost_total", "How often a peer knew more of this copy than it did itself: it goes on under a new identity."},
	"operations_again":         {"atoll_operations_again_total", "Increments that were sent again and not counted again."},
	"operations_corrected":     {"atoll_operations_corrected_total", "Increments that two members had counted, and one took back."},
	"operations_counted_twice": {"atoll_operations_counted_twice_total", "Increments that two members had counted, and nobody could take back."},
	"operations_forgotten":     {"atoll_operations_forgotten_total", "Ids of increments that are remembered no more."},
	"namesakes":                {"atoll_namesakes_total", "Messages of another process that runs under this member's name."},
	"leaves_damaged":           {"atoll_leaves_damaged_total", "Merkle leaves that were found damaged on disk."},
	"leaves_repaired":          {"atoll_leaves_repaired_total", "Damaged Merkle leaves that were repaired."},
	"siblings_removed":         {"atoll_siblings_removed_total", "Concurrent values of registers that were removed because they did not fit together."},
	"headers_recounted":        {"atoll_headers_recounted_total", "Objects of which the number of fields was wrong on disk, and was counted again."},
}

// counters returns the families of the engine's counters.
func counters() []family {
	var all []family
	for key, c := range counted {
		if c.name == "" {
			continue
		}
		all = append(all, one(counter, c.name, c.help, func(s *Sample) float64 { return float64(s.Engine.Counters[key]) }))
	}
	return all
}
