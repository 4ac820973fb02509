package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	pb "github.com/atolldb/atoll/proto"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", ArgsUsage: "[MEMBER]",
		Usage: "show how far behind others are, in events and seconds",
		Description: `It is what one member says: the one connected to, or MEMBER. First, of how many
shards it has copies: those it owns, those it takes over, those it has taken over
and serves once the owners change, and those it hands over to their owners, among
them hints. Of each peer:

   LAG      events that the member has and the peer was not heard to have
   AGE      age of the oldest of them, if the log still has it
   BEHIND   events that the peer has and the member lacks
   DIVERGED shards in which both have heard the same and do not hold the same
   SILENT   time since the peer was last heard of

Below are what the member counted since its start, as far as it is not 0.`,
		Before: takes(0, 1),
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "shards", Usage: "the same for every shard that is not level"}},
		Action: reading(func(c *cli.Context) error {
			return connected(c, func(ctx context.Context, cl *client.Client) error {
				member := c.Args().First()
				status, err := cl.Status(ctx, member, false)
				switch {
				case member != "" && errors.Is(err, client.ErrUnreachable):
					return fmt.Errorf("%w; status without a name lists who is known", err)
				case err != nil:
					return err
				}
				s := statusOf(status, cl.Shards(), c.Bool("shards"))
				return answer(c, s, s.print)
			})
		}),
	}
}

type statusAnswer struct {
	Cluster  string            `json:"cluster"`
	Member   string            `json:"member"`
	Region   string            `json:"region"`
	Version  string            `json:"version"`
	Shards   int               `json:"shards"`
	Holdings holdingsAnswer    `json:"holdings"`
	Peers    []peerAnswer      `json:"peers"`
	Unheard  []string          `json:"regions_never_heard"`
	Damages  []damageAnswer    `json:"damages"`
	NotWhole []uint32          `json:"shards_not_whole"`
	Counters map[string]uint64 `json:"counters"`
}

// holdingsAnswer counts the shards of which a member has copies.
type holdingsAnswer struct {
	Owned       uint32 `json:"owned"`
	Joining     uint32 `json:"joining"`      // it takes them over, and does not serve them yet
	JoinedBytes uint64 `json:"joined_bytes"` // that it has taken over since its start
	Ready       uint32 `json:"ready"`        // it has taken them over, and serves them once the owners change
	Handing     uint32 `json:"handing_over"` // it keeps them until all owners have what it has
	Hints       uint32 `json:"hints"`        // of these, those that hold writes it took in place of owners
	HintEvents  uint64 `json:"hint_events"`
	HintBytes   uint64 `json:"hint_bytes"`
	HintLimit   uint64 `json:"hint_limit_bytes"` // from which on it refuses more
	// Awaited are members that are not there, without whom it cannot take over or
	// hand over what it is to.
	Awaited []string `json:"awaited"`
}

func (h holdingsAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "owns %s", plural(int(h.Owned), "shard"))
	if h.Joining > 0 {
		fmt.Fprintf(w, "; takes over %d", h.Joining)
	}
	if h.Ready > 0 {
		fmt.Fprintf(w, "; has taken over %d, served once the owners change", h.Ready)
	}
	if h.JoinedBytes > 0 {
		fmt.Fprintf(w, "; took over %s since its start", mebibytes(h.JoinedBytes))
	}
	if h.Handing > 0 {
		fmt.Fprintf(w, "; hands over %d", h.Handing)
	}
	if h.Hints > 0 {
		fmt.Fprintf(w, "; of these %d hints of %s, taken in place of owners, %s of at most %s",
			h.Hints, plural(int(h.HintEvents), "event"), mebibytes(h.HintBytes), mebibytes(h.HintLimit))
	}
	fmt.Fprintln(w)
	printAwaited(w, "it", h.Awaited)
}

type peerAnswer struct {
	Member         string      `json:"member"`
	Region         string      `json:"region"`
	LagEvents      uint64      `json:"lag_events"`
	LagSeconds     float64     `json:"lag_seconds"`
	BehindEvents   uint64      `json:"behind_events"`
	DivergedShards int         `json:"diverged_shards"`
	SilentSeconds  float64     `json:"silent_seconds"`
	Shards         []lagAnswer `json:"shards,omitempty"`
}

type lagAnswer struct {
	Shard        uint32  `json:"shard"`
	LagEvents    uint64  `json:"lag_events"`
	LagSeconds   float64 `json:"lag_seconds"`
	BehindEvents uint64  `json:"behind_events"`
	Diverged     bool    `json:"diverged"`
}

func statusOf(status *pb.Status, shards int, perShard bool) statusAnswer {
	s := statusAnswer{
		Cluster: status.GetCluster(), Member: status.GetMember(), Region: status.GetRegion(), Version: status.GetVersion(),
		Shards: shards, Counters: status.GetCounters(), Peers: []peerAnswer{}, Unheard: []string{},
		Damages: damagesOf(status), NotWhole: append([]uint32{}, status.GetNotWhole()...),
	}
	h := status.GetHoldings()
	s.Holdings = holdingsAnswer{
		Owned: h.GetOwned(), Joining: h.GetJoining(), JoinedBytes: h.GetJoinedBytes(), Ready: h.GetReady(),
		Handing: h.GetHanding(), Hints: h.GetHints(), HintEvents: h.GetHintEvents(), HintBytes: h.GetHintBytes(), HintLimit: h.GetHintLimit(), Awaited: append([]string{}, h.GetAwaited()...),
	}
	heard := map[string]bool{}
	for _, p := range status.GetPeers() {
		heard[p.GetRegion()] = true
		peer := peerAnswer{
			Member: p.GetMember(), Region: p.GetRegion(), LagEvents: p.GetLagEvents(), LagSeconds: seconds(ms(p.GetLagMs())),
			BehindEvents: p.GetBehindEvents(), SilentSeconds: seconds(ms(p.GetSilentMs())),
		}
		for _, l := range p.GetShards() {
			if l.GetDiverged() {
				peer.DivergedShards++
			}
			if perShard {
				peer.Shards = append(peer.Shards, lagAnswer{
					l.GetShard(), l.GetLagEvents(), seconds(ms(l.GetLagMs())), l.GetBehindEvents(), l.GetDiverged(),
				})
			}
		}
		s.Peers = append(s.Peers, peer)
	}
	for _, region := range status.GetRegions() {
		if !heard[region] {
			s.Unheard = append(s.Unheard, region)
		}
	}
	return s
}

func (s statusAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "member %s of region %s, cluster %s, version %s, %d shards\n", s.Member, s.Region, s.Cluster, s.Version, s.Shards)
	s.Holdings.print(w)
	fmt.Fprintln(w)
	fmt.Fprintln(w, "PEER\tREGION\tLAG\tAGE\tBEHIND\tDIVERGED\tSILENT")
	for _, p := range s.Peers {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\t%.1fs\n",
			p.Member, p.Region, p.LagEvents, age(p.LagEvents, p.LagSeconds), p.BehindEvents, p.DivergedShards, p.SilentSeconds)
	}
	for _, region := range s.Unheard {
		fmt.Fprintf(w, "-\t%s\t-\t-\t-\t-\tnever heard\n", region)
	}
	s.printShards(w)
	if len(s.NotWhole) > 0 {
		fmt.Fprintf(w, "\nnot whole: %s catching up, or damaged; what is read there may lack something\n", plural(len(s.NotWhole), "shard"))
	}
	printDamages(w, s.Damages)
	fmt.Fprintln(w, "\nCOUNTED\t")
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		if n := s.Counters[name]; n > 0 {
			fmt.Fprintf(w, "%s\t%d\n", name, n)
		}
	}
}

func (s statusAnswer) printShards(w io.Writer) {
	if !slices.ContainsFunc(s.Peers, func(p peerAnswer) bool { return len(p.Shards) > 0 }) {
		return
	}
	fmt.Fprintln(w, "\nSHARD\tPEER\tLAG\tAGE\tBEHIND\tDIVERGED")
	for _, p := range s.Peers {
		for _, l := range p.Shards {
			fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%d\t%v\n", l.Shard, p.Member, l.LagEvents, age(l.LagEvents, l.LagSeconds), l.BehindEvents, l.Diverged)
		}
	}
}

// age is how old the oldest missing event is; nobody knows if the log has lost it.
func age(events uint64, seconds float64) string {
	if events == 0 || seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fs", seconds)
}
