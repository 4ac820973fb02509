package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/atolldb/atoll/client"
)

// lookTimeout bounds one look at the cluster: a question that is lost while
// links come up is soon asked again.
const lookTimeout = time.Second

// Converge waits until all members agree, as the first of them says, and
// returns an error that says how they differ if the context ends before.
func (c *Cluster) Converge(ctx context.Context) (err error) {
	conn, err := c.Members[0].Connect(ctx)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for last := error(nil); ; {
		look, cancel := context.WithTimeout(ctx, lookTimeout)
		report, err := conn.Verify(look, lookTimeout, nil)
		cancel()
		switch {
		case err == nil && report.Converged() && len(report.Members) == len(c.Members):
			return nil
		case report != nil:
			last = differences(report)
		case ctx.Err() == nil:
			last = err
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
			return fmt.Errorf("cluster: not converged: %w: %w", ctx.Err(), last)
		}
	}
}

// differences says how members differ, as far as it can be read.
func differences(r *client.Report) error {
	var text []string
	for _, m := range r.Members {
		text = append(text, fmt.Sprintf("%s has %d events and %d entries (%v)", m.Member, m.Events, m.Entries, m.Err))
	}
	for _, d := range r.Differ[:min(3, len(r.Differ))] {
		text = append(text, fmt.Sprintf("shard %d: behind %v, diverged %t", d.Shard, d.Behind, d.Diverged))
	}
	return fmt.Errorf("silent %v; %s; %d shards differ", r.Silent, strings.Join(text, "; "), len(r.Differ))
}
