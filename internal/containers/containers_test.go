package containers_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/containers"
)

// TestFaults: what happens to networks and machines happens to regions in
// containers under load. In the end all agree, and nothing that was acknowledged
// is missing. -v prints the timeline; -lasting has each fault last longer.
func TestFaults(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("SKIPPED, nothing is tested in containers: it runs once, without the race detector, which the members would not have, and not with -short")
	}
	d, first, second := newDrill(t)
	d.keep("soon deleted")
	d.begin()
	d.backedUp("soon deleted")
	d.networkCut()
	d.networkWorse()
	d.paused()
	d.killedAndAhead()
	d.rolling(second)
	d.diskFull(first)
	d.check()
	d.restored("soon deleted")
}

// keep writes a register and waits until all have it.
func (d *drill) keep(key string) {
	d.t.Helper()
	d.must(d.clients["us"].Register(key).Set(d.t.Context(), []byte("x")))
	d.converge()
}

// backedUp backs up a member under load. A register that is in the backup is deleted
// after it.
func (d *drill) backedUp(deleted string) {
	d.t.Helper()
	failed := d.step("ap-2 is backed up", func(ctx context.Context) string {
		d.must(d.cluster.Named("ap-2").Backup(ctx, "old"))
		_, err := d.clients["us"].Delete(ctx, deleted)
		d.must(err)
		return "and a register of the backup is deleted"
	})
	if failed > 0 {
		d.t.Errorf("%d writes failed during a backup", failed)
	}
}

// restored has a member lose its disk when all agree, so that nothing is lost with it,
// and brings it back from the old backup.
func (d *drill) restored(deleted string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*patience)
	defer cancel()
	began, m := time.Now(), d.cluster.Named("ap-2")
	d.must(m.Stop(ctx))
	d.must(m.Lose(ctx))
	d.must(m.Restore(ctx, "old"))
	d.must(m.Start(ctx))
	d.must(m.Ready(ctx))
	up := time.Since(began)
	marked, agreed := d.everywhere(d.marker(ctx)), d.converge()
	for _, region := range regions {
		if value, err := d.clients[region].Register(deleted).Get(ctx); !errors.Is(err, client.ErrNotFound) {
			d.t.Errorf("%s has what was deleted after the backup: %q, %v", region, value, err)
		}
	}
	d.compare()
	d.say("ap-2 lost its disk, and answers %.1fs later from the backup; a write is everywhere after %v, all agree %v later, and nothing is missing or back",
		up.Seconds(), marked, agreed)
}

func (d *drill) networkCut() {
	d.t.Helper()
	failed := d.step("eu is cut off", func(ctx context.Context) string {
		d.must(d.cluster.Cut(ctx, "eu"))
		marker := d.marker(ctx)
		d.last(ctx)
		if !d.has(ctx, "eu", marker, 1) {
			d.t.Error("eu is not cut off")
		}
		d.must(d.cluster.Heal(ctx, "eu"))
		return fmt.Sprintf("all regions have what all wrote %v after the heal", d.everywhere(marker))
	})
	if failed > 0 {
		d.t.Errorf("%d writes failed while a region was cut off", failed)
	}
}

func (d *drill) networkWorse() {
	d.t.Helper()
	d.step("what us sends is worse", func(ctx context.Context) string {
		what, undo, err := d.cluster.Worsen(ctx, "us")
		if errors.Is(err, containers.ErrKernel) {
			return "SKIPPED: " + err.Error()
		}
		d.must(err)
		d.last(ctx)
		took := d.everywhere(d.marker(ctx))
		d.must(undo(ctx))
		return fmt.Sprintf("%s; a write is everywhere after %v", what, took)
	})
}

func (d *drill) paused() {
	d.t.Helper()
	m := d.cluster.Named("us-2")
	d.step("us-2 is paused", func(ctx context.Context) string {
		d.must(m.Pause(ctx))
		d.last(ctx)
		d.must(m.Unpause(ctx))
		return fmt.Sprintf("a write is everywhere %v after it goes on", d.everywhere(d.marker(ctx)))
	})
}

// killedAndAhead kills a member, which comes back with a clock that is an hour
// ahead. What it has written others can replace.
func (d *drill) killedAndAhead() {
	d.t.Helper()
	m := d.cluster.Named("ap-2")
	d.step("ap-2 is killed, and back with a clock an hour ahead", func(ctx context.Context) string {
		d.must(m.Kill(ctx))
		d.last(ctx)
		m.Flags = []string{"--clock-offset", "1h"}
		d.must(m.Start(ctx))
		d.must(m.Ready(ctx))
		keys, ahead := 0, 0
		d.until("ap-2 takes some writes", func(ctx context.Context) bool {
			keys++
			d.must(d.clients["ap"].Register(fmt.Sprint("clock-", keys)).Set(ctx, []byte("early")))
			siblings, err := d.clients["ap"].Register(fmt.Sprint("clock-", keys)).Siblings(ctx)
			if err == nil && time.Until(siblings[0].Time) > 50*time.Minute {
				ahead++
			}
			return ahead >= 5
		})
		// In a session, as another member serves the write than the read, perhaps.
		session := d.clients["eu"].Session()
		for i := 1; i <= keys; i++ {
			r := session.Register(fmt.Sprint("clock-", i))
			d.until("eu has what was written in ap", func(ctx context.Context) bool {
				_, err := r.Get(ctx)
				return err == nil
			})
			d.must(r.Set(ctx, []byte("late")))
		}
		for i := 1; i <= keys; i++ {
			d.until("what was written later wins", func(ctx context.Context) bool {
				value, err := d.clients["us"].Register(fmt.Sprint("clock-", i)).Get(ctx)
				return err == nil && string(value) == "late"
			})
		}
		return fmt.Sprintf("%d of %d values had a time an hour ahead, and all could be replaced", ahead, keys)
	})
	m.Flags = nil
}

// rolling replaces all members by those of another image: in all regions at the
// same time, in each one after the other.
func (d *drill) rolling(image string) {
	d.t.Helper()
	for n := range 2 {
		d.step(fmt.Sprintf("member %d of each region is replaced by one of a new image", n+1), func(ctx context.Context) string {
			began := time.Now()
			var group sync.WaitGroup
			errs := make([]error, len(regions))
			for i, region := range regions {
				m := d.cluster.In(region)[n]
				group.Go(func() {
					if errs[i] = m.Stop(ctx); errs[i] == nil {
						m.Image = image
						errs[i] = errors.Join(m.Start(ctx), m.Ready(ctx))
					}
				})
			}
			group.Wait()
			d.must(errors.Join(errs...))
			return fmt.Sprintf("they had stopped by themselves and answered again after %.1fs", time.Since(began).Seconds())
		})
	}
}

// diskFull: a member whose disk is full says so, and goes on when there is space.
func (d *drill) diskFull(image string) {
	d.t.Helper()
	const size, ballast = 640, 150 // of which a member leaves 512 alone
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	m, err := d.cluster.Add(ctx, "eu", "eu-3", image, size)
	d.must(err)
	d.step("eu-3 joins, on a small disk", func(ctx context.Context) string {
		d.must(m.Start(ctx))
		d.must(m.Ready(ctx))
		d.until("it owns shards", func(ctx context.Context) bool {
			status, err := d.clients["eu"].Status(ctx, m.Name, false)
			return err == nil && status.GetHoldings().GetOwned() > 0 && status.GetHoldings().GetJoining() == 0
		})
		return "it has its shards"
	})
	there := d.connect(m) // which NATS has served by the member itself
	write := func(ctx context.Context, i int) error {
		return there.Register(fmt.Sprint("disk-", i%100)).Set(ctx, []byte("x"))
	}
	d.step("the disk of eu-3 is full", func(ctx context.Context) string {
		d.must(m.Fill(ctx, ballast))
		i, refused := 0, error(nil)
		d.until("eu-3 refuses writes for lack of space", func(ctx context.Context) bool {
			i++
			if err := write(ctx, i); err != nil {
				refused = err
			}
			return refused != nil
		})
		if !errors.Is(refused, client.ErrNoSpace) {
			d.t.Errorf("a member whose disk is full says: %v", refused)
		}
		d.last(ctx)
		d.must(m.Fill(ctx, 0))
		row := 0
		took := d.until("writes go on", func(ctx context.Context) bool {
			if row++; write(ctx, row) != nil {
				row = 0
			}
			return row == 100
		})
		return fmt.Sprintf("%q; a hundred writes in a row %v after there is space", refused, took)
	})
}
