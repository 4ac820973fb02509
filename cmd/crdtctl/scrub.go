package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	pb "github.com/atolldb/atoll/proto"
)

// scrubPause is the time between two looks at how a scrub stands.
const scrubPause = 100 * time.Millisecond

func scrubCommand() *cli.Command {
	return &cli.Command{
		Name:  "scrub",
		Usage: "compare what a member has on disk with its digests, and repair",
		Description: `The member connected to, or --member, reads all that it has at its own pace and
compares it with the digests that were written with it. What is damaged is
replaced by what other members have. What nobody else has stays as it is until
somebody has; it is named, with exit code 3. If nobody ever will, --give-up ends
that: what other members have takes its place, and the rest is lost. The member
goes on scrubbing if this command is interrupted, and does so by itself once a day.`,
		Before: takes(0, 0),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "member", Usage: "the member of that `NAME`"},
			&cli.BoolFlag{Name: "give-up", Usage: "in the end, forget what is damaged and nobody else has"},
			&cli.DurationFlag{Name: "wait", Value: 10 * time.Second, Usage: "how long to wait for repairs"},
		},
		Action: scrub,
	}
}

func scrub(c *cli.Context) error {
	member, wait := c.String("member"), c.Duration("wait")
	if wait < 0 {
		return usagef("--wait %v; it takes 0 or more, such as 10s", wait)
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		line := newProgress(c)
		defer line.clear()
		before, err := cl.Status(ctx, member, false)
		if member != "" && errors.Is(err, client.ErrUnreachable) {
			return fmt.Errorf("%w; status lists who is known", err)
		}
		if err != nil {
			return err
		}
		s := scrubAnswer{Member: before.GetMember(), Damages: []damageAnswer{}}
		state, err := cl.StartScrub(ctx, s.Member, c.Bool("give-up"))
		for ; err == nil && state.GetFinished() == before.GetScrub().GetFinished(); state, err = cl.Scrub(ctx, s.Member) {
			line.show("%s: %.0f %%, %s", s.Member, 100*state.GetDone(), mebibytes(state.GetBytes()))
			if err := pause(ctx); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		after, err := repaired(ctx, cl, s.Member, wait, line)
		if err != nil {
			return err
		}
		line.clear()
		s.fill(state, before, after)
		if err := answer(c, s, s.print); err != nil || len(s.Damages) == 0 && s.Error == "" {
			return err
		}
		return verdict(exitNotConverged)
	})
}

// repaired waits until nothing is damaged any more, or patience ends.
func repaired(ctx context.Context, cl *client.Client, member string, wait time.Duration, line progress) (*pb.Status, error) {
	deadline := time.Now().Add(wait)
	for {
		status, err := cl.Status(ctx, member, false)
		if err != nil || len(status.GetDamages()) == 0 || time.Now().After(deadline) {
			return status, err
		}
		line.show("%s: repairing %s", member, plural(len(status.GetDamages()), "shard"))
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(scrubPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type scrubAnswer struct {
	Member  string         `json:"member"`
	Bytes   uint64         `json:"bytes"`
	Found   uint64         `json:"found"`
	Mended  uint64         `json:"repaired"`
	Damages []damageAnswer `json:"damages"`
	Error   string         `json:"error,omitempty"`
}

type damageAnswer struct {
	Shard    uint32   `json:"shard"`
	Leaves   []uint32 `json:"leaves"`
	Text     string   `json:"text"`
	Unmended string   `json:"unrepaired_because"`
}

func (s *scrubAnswer) fill(state *pb.ScrubState, before, after *pb.Status) {
	since := func(counter string) uint64 { return after.GetCounters()[counter] - before.GetCounters()[counter] }
	s.Bytes, s.Error = state.GetBytes(), state.GetError()
	s.Found = since("leaves_damaged") + since("headers_recounted")
	s.Mended = since("leaves_repaired") + since("headers_recounted")
	s.Damages = damagesOf(after)
}

func damagesOf(status *pb.Status) []damageAnswer {
	damages := []damageAnswer{}
	for _, d := range status.GetDamages() {
		damages = append(damages, damageAnswer{d.GetShard(), append([]uint32{}, d.GetLeaves()...), d.GetText(), d.GetUnmended()})
	}
	return damages
}

func (s scrubAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s compared with their digests: %d found damaged, %d repaired\n", s.Member, mebibytes(s.Bytes), s.Found, s.Mended)
	printDamages(w, s.Damages)
	if s.Error != "" {
		fmt.Fprintf(w, "not all could be read: %s\n", s.Error)
	}
}

func printDamages(w io.Writer, damages []damageAnswer) {
	if len(damages) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSHARD\tDAMAGED")
	for _, d := range damages {
		why := d.Unmended
		if why == "" {
			why = "a repair is under way"
		}
		fmt.Fprintf(w, "%d\t%s\n\tnot repaired: %s\n", d.Shard, d.Text, why)
	}
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
