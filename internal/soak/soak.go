package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/internal/book"
	"github.com/atolldb/atoll/internal/cluster"
	"github.com/atolldb/atoll/internal/wan"
)

const (
	// patience bounds a start, a stop, and the wait until all agree.
	patience = 2 * time.Minute
	// writePause is the time between two writes of a client: the disk has
	// enough to do, and the members enough to disagree about.
	writePause = 5 * time.Millisecond
	// mostTold bounds how much of what is wrong is told one by one.
	mostTold = 20
)

var regions = []string{"eu", "us", "ap"}

// options of a run.
type options struct {
	duration time.Duration
	seed     uint64
	clients  int
	round    time.Duration // about how long faults go on before all heals
	// program is a crdtd; dir takes data and logs.
	program, dir string
	out          io.Writer // a line for each round
}

// soak is a run.
type soak struct {
	options options
	random  *rand.Rand
	cluster *cluster.Cluster
	network *wan.Network
	book    *book.Book
	records []*book.Record
	summary summary
	began   time.Time
}

// run lets a cluster live through faults, until the time is over, the context
// ends or something is wrong, and says what it came to.
func run(ctx context.Context, o options) (summary, error) {
	s := newSoak(o)
	err := s.lay()
	if err == nil {
		defer s.network.Close()
		err = s.live(ctx)
		err = errors.Join(err, s.cluster.Close())
	}
	s.summary.Seconds = time.Since(s.began).Seconds()
	if err != nil {
		s.summary.Error = err.Error()
		err = errors.Join(err, s.keepLogs())
	}
	return s.summary, err
}

func newSoak(o options) *soak {
	return &soak{
		options: o, random: rand.New(rand.NewPCG(o.seed, 0)), book: book.New(), began: time.Now(),
		summary: summary{Seed: o.seed, Faults: map[string]int{}},
	}
}

// lay lays the cluster out, gateways connected through a network that can be
// cut.
func (s *soak) lay() (err error) {
	if s.network, err = wan.New(regions...); err != nil {
		return err
	}
	if s.cluster, err = cluster.New(s.options.program, s.options.dir, regions); err != nil {
		return errors.Join(err, s.network.Close())
	}
	addresses := s.network.Addresses()
	for _, m := range s.cluster.Members {
		for region := range m.Peers {
			m.Peers[region] = addresses[region][0]
		}
		m.Advertise = addresses[m.Region][0]
		s.network.Attach(m.Region, m.Gateway)
	}
	return nil
}

func (s *soak) member(region string) *cluster.Member {
	return s.cluster.Members[slices.Index(regions, region)]
}

// live starts the cluster, goes through one round or more, and in the end kills all
// members at once and reads again all that was ever written.
func (s *soak) live(ctx context.Context) error {
	if err := s.startAll(); err != nil {
		return err
	}
	for s.summary.Rounds == 0 || ctx.Err() == nil && time.Since(s.began) < s.options.duration {
		if err := s.round(ctx); err != nil {
			return err
		}
	}
	for _, m := range s.cluster.Members {
		if err := m.Kill(); err != nil {
			return err
		}
		s.summary.Faults["kill -9"]++
	}
	if err := s.startAll(); err != nil {
		return err
	}
	if _, err := s.settle(); err != nil {
		return err
	}
	return s.check(s.records)
}

// startAll starts all members and waits until they are ready.
func (s *soak) startAll() error {
	for _, m := range s.cluster.Members {
		if err := m.Start(); err != nil {
			return err
		}
	}
	return s.ready()
}

func (s *soak) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, m := range s.cluster.Members {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// round is one round of faults under load, after which all heals, and all
// regions must agree and hold what was acknowledged.
func (s *soak) round(ctx context.Context) error {
	s.summary.Rounds++
	s.book = s.book.Next()
	load, err := book.StartLoad(context.Background(), s.book, book.LoadOptions{
		Servers: s.cluster.Spread(s.options.clients), Seed: s.random.Uint64(),
		Prefix: fmt.Sprintf("round-%d/", s.summary.Rounds), Pause: writePause,
	})
	if err != nil {
		return err
	}
	faults := draw(s.random, regions, s.options.round)
	err = s.happen(ctx, faults)
	err = errors.Join(err, load.End())
	s.summary.count(s.book)
	if err != nil {
		return err
	}
	took, err := s.settle()
	s.print(faults, took)
	if err != nil {
		return err
	}
	return s.check(nil)
}

// settle waits until all members are ready and agree, and notes how long that
// took since the last fault was over.
func (s *soak) settle() (time.Duration, error) {
	healed := time.Now()
	if err := s.ready(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.cluster.Converge(ctx)
	took := time.Since(healed)
	if err == nil {
		s.summary.converged(took)
	} else {
		s.summary.NotConverged++
	}
	return took, err
}

// print prints the line of a round.
func (s *soak) print(faults []fault, took time.Duration) {
	var what []string
	for _, f := range faults {
		what = append(what, f.String())
	}
	fmt.Fprintf(s.options.out, "%4d  %7s  %6d acknowledged %5d unknown %6d refused  agree after %6.2fs  %s\n",
		s.summary.Rounds, time.Since(s.began).Round(time.Second),
		s.book.Count(book.Done), s.book.Count(book.Unknown), s.book.Count(book.Refused),
		took.Seconds(), strings.Join(what, "; "))
}

// check reads in every region what was written in this round, and records, and
// looks for what members must never have to say.
func (s *soak) check(records []*book.Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	var wrong []error
	var first book.Reading
	for _, m := range s.cluster.Members {
		conn, err := m.Connect(ctx)
		if err != nil {
			return err
		}
		read, errs := s.book.Read(ctx, conn)
		for _, r := range records {
			errs = append(errs, r.Read(ctx, conn)...)
		}
		if first == nil {
			first = read
		}
		for _, key := range first.Differ(read) {
			errs = append(errs, fmt.Errorf("%s is %s here and %s in %s", key, read[key], first[key], regions[0]))
		}
		status, err := conn.Status(ctx, m.Region, false)
		errs = append(errs, err, unheard(status.GetCounters()), sound(m.Log()), conn.Close())
		for _, err := range errs {
			if err != nil {
				wrong = append(wrong, fmt.Errorf("in %s: %w", m.Region, err))
			}
		}
	}
	s.summary.Lost += len(wrong)
	if records == nil {
		s.records = append(s.records, s.book.Record(first))
	}
	if more := len(wrong) - mostTold; more > 0 {
		wrong = append(wrong[:mostTold], fmt.Errorf("and %d more", more))
	}
	return errors.Join(wrong...)
}

// unheard checks the counts of what faults like these must not lead to.
func unheard(counters map[string]uint64) error {
	for _, name := range []string{"actors_lost", "divergences", "commit_errors", "messages_malformed", "messages_foreign", "namesakes", "shards_damaged"} {
		if n := counters[name]; n != 0 {
			return fmt.Errorf("it counts %d %s", n, name)
		}
	}
	return nil
}

// sound checks that a log says nothing of a crash or a broken promise.
func sound(log string) error {
	for _, bad := range []string{"panic", "goroutine ", "DATA RACE", "could not be", "copies heard the same and differ"} {
		if strings.Contains(log, bad) {
			return fmt.Errorf("its log says %q", bad)
		}
	}
	return nil
}

// keepLogs writes the logs of the members beside their data.
func (s *soak) keepLogs() error {
	if s.cluster == nil {
		return nil
	}
	var errs []error
	for _, m := range s.cluster.Members {
		errs = append(errs, os.WriteFile(filepath.Join(s.options.dir, m.Region+".log"), []byte(m.Log()), 0o600))
	}
	return errors.Join(errs...)
}
