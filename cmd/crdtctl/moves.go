package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
)

// paceOver is the time over which the pace of a move is taken.
const paceOver = 10 * time.Second

func watchFlag() cli.Flag {
	return &cli.BoolFlag{Name: "watch", Usage: "show how far the shards have moved, until all have", DisableDefaultText: true}
}

// watch waits until the owners of no region change any more, as all members have
// it that are alive, and shows how far that is. Owners is a setting that the member
// that answers must have heard of; 0 is any.
func watch(ctx context.Context, cl *client.Client, owners int, line progress) (*client.Rings, error) {
	defer line.clear()
	var pace pace
	for {
		rings, err := cl.Rings(ctx, "")
		heard := err == nil && len(rings.Regions) > 0 && (owners == 0 || rings.Owners == owners)
		if heard && len(changing(rings)) == 0 {
			var names []string
			if names, err = alive(ctx, cl); err == nil {
				others := unsettled(names, func(name string) (*client.Rings, error) { return cl.Rings(ctx, name) })
				if others == nil {
					return rings, nil
				}
				rings = others
			}
		}
		if err == nil {
			line.show("%s", movedOf(cl.Moves(ctx, rings), rings.Regions...).text(&pace))
			err = pause(ctx)
		}
		if err != nil {
			return nil, readError{err, "the shards move all the same"}
		}
	}
}

// alive returns the names of the members that are alive, as one of them sees it.
func alive(ctx context.Context, cl *client.Client) (names []string, err error) {
	views, err := cl.Members(ctx, "")
	for _, v := range views {
		if v.GetState() == "alive" {
			names = append(names, v.GetMember().GetName())
		}
	}
	return names, err
}

// unsettled asks members for the rings, all at the same time, and returns those of
// one that says that owners change, or nil. Who has answered before may not have
// heard of a change yet; who does not answer is not waited for.
func unsettled(names []string, ask func(name string) (*client.Rings, error)) *client.Rings {
	answers := make(chan *client.Rings, len(names))
	for _, name := range names {
		go func() {
			rings, err := ask(name)
			if err != nil || len(changing(rings)) == 0 {
				rings = nil
			}
			answers <- rings
		}()
	}
	var found *client.Rings
	for range names {
		found = cmp.Or(found, <-answers)
	}
	return found
}

// moved is how far several moves are, together.
type moved struct {
	shards, taken int
	bytes         uint64
	done          float64
	silent        []string // who does not say
	awaited       []string // who is not there
}

func movedOf(moves []*client.Move, regions ...client.RegionRing) (m moved) {
	for _, region := range regions {
		m.awaited = append(m.awaited, region.Awaited...)
	}
	for _, move := range moves {
		m.shards += move.Shards
		m.taken += move.Taken
		m.bytes += move.Bytes
		m.done += move.Done * float64(move.Shards)
		if move.Err != nil {
			m.silent = append(m.silent, move.Member)
		}
	}
	if m.shards > 0 {
		m.done /= float64(m.shards)
	}
	return m
}

// text shows how far it is now, and how fast it went lately.
func (m moved) text(p *pace) string {
	perSecond := p.of(time.Now(), m.bytes)
	text := fmt.Sprintf("%d of %s moved, %s, %s/s  %s", m.taken, plural(m.shards, "shard"), mebibytes(m.bytes), mebibytes(perSecond), bar(m.done))
	if len(m.awaited) > 0 {
		return text + "  waits for " + strings.Join(m.awaited, ", ")
	}
	if len(m.silent) > 0 {
		text += "  no answer from " + strings.Join(m.silent, ", ")
	}
	return text
}

// pace tells how fast a number grows.
type pace struct{ looks []look }

type look struct {
	at    time.Time
	bytes uint64
}

// of takes in a number, and returns by how much it grew per second lately.
func (p *pace) of(now time.Time, bytes uint64) uint64 {
	if n := len(p.looks); n > 0 && bytes < p.looks[n-1].bytes {
		p.looks = nil // whoever counts has begun anew
	}
	p.looks = append(p.looks, look{now, bytes})
	for len(p.looks) > 2 && now.Sub(p.looks[1].at) >= paceOver {
		p.looks = p.looks[1:]
	}
	first := p.looks[0]
	if elapsed := now.Sub(first.at).Seconds(); elapsed > 0 {
		return uint64(float64(bytes-first.bytes) / elapsed)
	}
	return 0
}

type decommissioned struct {
	Member string `json:"member"`
	Shards uint32 `json:"shards"`      // that it had
	Bytes  uint64 `json:"moved_bytes"` // that others took over meanwhile, as far as this command has seen it
}

func (d decommissioned) print(w io.Writer) {
	fmt.Fprintf(w, "%s has handed over %s and holds nothing any more; stop it, then: crdtctl member remove %s\n",
		d.Member, plural(int(d.Shards), "shard"), d.Member)
}

// handedOver waits until a member holds nothing any more, and shows how far
// others have taken over what it has.
func handedOver(ctx context.Context, cl *client.Client, name string, line progress) (decommissioned, error) {
	defer line.clear()
	d := decommissioned{Member: name}
	var pace pace
	for {
		left, region, err := leftOf(ctx, cl, name)
		if err == nil && left == 0 && region == nil {
			return d, nil
		}
		d.Shards = max(d.Shards, left)
		switch {
		case err != nil:
		case region != nil: // if it does not change, who answered has not heard of it yet
			m := movedOf(cl.Moves(ctx, &client.Rings{Regions: []client.RegionRing{*region}}), *region)
			d.Bytes = max(d.Bytes, m.bytes)
			line.show("%s: %s", name, m.text(&pace))
		default: // all is elsewhere
			line.show("%s: others own all; it removes its copies, %d left  %s", name, left, bar(1))
		}
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			return d, readError{err, fmt.Sprintf("%s hands over all the same, and the same command shows it again", name)}
		}
	}
}

// leftOf returns of how many shards a member has copies, and the region in which
// it owns some; nil if it does not, and is not to.
func leftOf(ctx context.Context, cl *client.Client, name string) (uint32, *client.RegionRing, error) {
	status, err := cl.Status(ctx, name, false)
	if err != nil {
		return 0, nil, err
	}
	rings, err := cl.Rings(ctx, "")
	if err != nil {
		return 0, nil, err
	}
	h := status.GetHoldings()
	left := h.GetOwned() + h.GetJoining() + h.GetReady() + h.GetHanding()
	for i, region := range rings.Regions {
		for _, m := range region.Members {
			if m.Name == name && m.Owned+m.Becomes > 0 {
				return left, &rings.Regions[i], nil
			}
		}
	}
	return left, nil, nil
}
