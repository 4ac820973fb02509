package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
)

// maxListed is how many shards that differ people are shown.
const maxListed = 20

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "prove that all regions hold the same, or say where they differ",
		Description: `Every member of every region is asked for the version vector and the Merkle root
of every shard that it owns. If those of each shard are equal, all have heard the
same and hold the same: converged. The digest stands for all of them; a member that
owns some shards only has none. Otherwise it asks again until
--wait is over, and then says which shards differ and who was silent, with exit
code 3. Under writes there is always something on its way.`,
		Before: takes(0, 0),
		Flags:  []cli.Flag{&cli.DurationFlag{Name: "wait", Value: 10 * time.Second, Usage: "how long to wait for agreement"}},
		Action: reading(verify),
	}
}

func verify(c *cli.Context) error {
	wait := c.Duration("wait")
	if wait < 0 {
		return usagef("--wait %v; it takes 0 or more, such as 10s", wait)
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		line, began := newProgress(c), time.Now()
		report, err := cl.Verify(ctx, wait, func(r *client.Report) {
			line.show("%s, %.1fs", verdictOf(r), time.Since(began).Seconds())
		})
		line.clear()
		if err != nil {
			return err
		}
		v := verifyOf(report)
		if err := answer(c, v, v.print); err != nil || v.Converged {
			return err
		}
		return verdict(exitNotConverged)
	})
}

// verdictOf says in half a line whether all agree.
func verdictOf(r *client.Report) string {
	if r.Converged() {
		return "converged"
	}
	reasons := []string{}
	if n := len(r.Differ); n > 0 {
		reasons = append(reasons, fmt.Sprintf("%d of %d shards differ", n, r.Shards))
	}
	if len(r.Silent) > 0 {
		reasons = append(reasons, "no answer from region "+strings.Join(r.Silent, " and "))
	}
	for _, m := range r.Members {
		switch {
		case m.Err != nil && !slices.Contains(r.Silent, m.Region):
			reasons = append(reasons, "no answer from member "+m.Member)
		case m.Missing > 0:
			reasons = append(reasons, fmt.Sprintf("%s does not serve %d of its %s yet", m.Member, m.Missing, plural(m.Owned, "shard")))
		case m.Extra > 0:
			reasons = append(reasons, fmt.Sprintf("%s hands over %s", m.Member, plural(m.Extra, "shard")))
		}
	}
	if len(r.Changing) > 0 {
		reasons = append(reasons, "the owners change in "+strings.Join(r.Changing, " and "))
	}
	return "not converged: " + strings.Join(reasons, ", ")
}

type verifyAnswer struct {
	Converged bool           `json:"converged"`
	Shards    int            `json:"shards"`
	Digest    string         `json:"digest,omitempty"` // of all members, if converged
	Members   []memberAnswer `json:"members"`
	Silent    []string       `json:"silent_regions"`
	Differ    []differAnswer `json:"differ"`

	verdict string
}

type memberAnswer struct {
	Region  string `json:"region"`
	Member  string `json:"member"`
	Events  uint64 `json:"events"`
	Entries uint64 `json:"entries"`
	Owned   int    `json:"owned"`   // shards
	Missing int    `json:"missing"` // of these, it does not serve so many
	Extra   int    `json:"extra"`   // so many others it holds
	Digest  string `json:"digest,omitempty"`
	Error   string `json:"error,omitempty"`
}

type differAnswer struct {
	Shard    int               `json:"shard"`
	Behind   map[string]uint64 `json:"behind"` // events, by member
	Diverged bool              `json:"diverged"`
}

func verifyOf(r *client.Report) verifyAnswer {
	v := verifyAnswer{
		Converged: r.Converged(), Shards: r.Shards, Silent: append([]string{}, r.Silent...), Differ: []differAnswer{},
		verdict: verdictOf(r),
	}
	if v.Converged {
		v.Digest = r.Digest
	}
	for _, m := range r.Members {
		a := memberAnswer{Region: m.Region, Member: m.Member, Events: m.Events, Entries: m.Entries, Digest: m.Digest,
			Owned: m.Owned, Missing: m.Missing, Extra: m.Extra}
		if m.Err != nil {
			a.Error = m.Err.Error()
		}
		v.Members = append(v.Members, a)
	}
	slices.SortStableFunc(v.Members, func(a, b memberAnswer) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Member, b.Member))
	})
	for _, d := range r.Differ {
		v.Differ = append(v.Differ, differAnswer{d.Shard, d.Behind, d.Diverged})
	}
	return v
}

func (v verifyAnswer) print(w io.Writer) {
	fmt.Fprintln(w, "REGION\tMEMBER\tSHARDS\tEVENTS\tENTRIES\tDIGEST")
	regions := map[string]bool{}
	for _, m := range v.Members {
		regions[m.Region] = true
		if m.Error != "" {
			fmt.Fprintf(w, "%s\t%s\t-\t-\t-\tno answer\n", m.Region, m.Member)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", m.Region, m.Member, m.Owned, m.Events, m.Entries, dash(m.Digest))
	}
	for _, region := range v.Silent {
		if !regions[region] {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\tnever heard\n", region)
		}
	}
	if len(v.Differ) > 0 {
		fmt.Fprintln(w, "\nSHARD\tDIFFERENCE")
	}
	for i, d := range v.Differ {
		if i == maxListed {
			fmt.Fprintf(w, "...\tand %d more; --json lists all\n", len(v.Differ)-maxListed)
			break
		}
		fmt.Fprintf(w, "%d\t%s\n", d.Shard, d)
	}
	fmt.Fprintf(w, "\n%s", v.verdict)
	if v.Converged {
		fmt.Fprintf(w, ": equal vectors and equal roots in all %d shards of %s in %s, digest %s",
			v.Shards, plural(len(v.Members), "member"), plural(len(regions), "region"), v.Digest)
	}
	fmt.Fprintln(w)
}

// String says who lacks how much.
func (d differAnswer) String() string {
	var parts []string
	for _, member := range slices.Sorted(maps.Keys(d.Behind)) {
		if n := d.Behind[member]; n > 0 {
			parts = append(parts, member+" lacks "+plural(int(n), "event"))
		}
	}
	switch {
	case d.Diverged:
		parts = append(parts, "DIVERGED: equal vectors, unequal roots")
	case len(parts) == 0:
		parts = append(parts, "a repair is under way")
	}
	return strings.Join(parts, ", ")
}
