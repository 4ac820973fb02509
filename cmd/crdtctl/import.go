package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/transfer"
)

const (
	// importAtOnce is how many lines are written at the same time. A block of lines is
	// written before the next is begun; it has up to blockLines of them, and
	// blockBytes, but for one line. Who goes on with a block must find the same lines
	// in it, so these numbers do not change.
	importAtOnce = 32
	blockLines   = 1000
	blockBytes   = 4 << 20
	// importTries is how often a set or a register is written whose outcome is not known.
	importTries = 3
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", ArgsUsage: "[FILE | -]",
		Usage: "write what an export has, or JSON lines of another program",
		Description: `Adds to what is there: counters count the value, sets take the elements, registers
the value that counts; of concurrent values the others are left out, and it says how
many. The lines are those that export describes, compressed or not; by hand, the
first and the last may be missing.

Each line is checked before it is written. At the first that is damaged, or cut, or
cannot be written, import stops and says which lines are in and how to go on:

   crdtctl import --from LINE --id ID FILE

Repeated like that, within half an hour, every counter counts once: the lines that
may be in already have ids that follow from ID. Repeated otherwise, counters count
again and registers are written again; for sets it makes no difference. Ids are
remembered for an hour, 131072 in each shard: more counters than that, import them in
parts an hour apart.`,
		Before: takes(0, 1),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "from", Value: 1, Usage: "leave out the lines before `LINE`"},
			&cli.StringFlag{Name: "id", Usage: "go on as the import that has said so with `ID`"},
		},
		Action: importLines,
	}
}

// importing is an import under way.
type importing struct {
	client *client.Client
	reader *transfer.Reader
	from   int
	first  client.OperationID // that the first block is given, if it is
	id     client.OperationID // of the block under way
	next   int                // all lines before it are in
	done   imported
	show   func(imported)
}

// imported is what was written.
type imported struct {
	Lines     int `json:"lines"`
	Counters  int `json:"counters"`
	Elements  int `json:"elements"`
	Registers int `json:"registers"`
	// LeftOut are concurrent values of registers.
	LeftOut int `json:"values_left_out"`
}

// numbered is a line and its number.
type numbered struct {
	transfer.Line
	number int
}

func importLines(c *cli.Context) error {
	i := &importing{from: c.Int("from")}
	if i.from < 1 {
		return usagef("--from %d; it takes 1 or more", i.from)
	}
	if c.IsSet("id") {
		var err error
		if i.first, err = client.ParseOperationID(c.String("id")); err != nil {
			return usagef("%w; an import that stopped has said it", err)
		}
	}
	source, err := openImport(c)
	if err != nil {
		return err
	}
	defer source.close()
	i.reader = transfer.NewReader(source.lines)
	line := newProgress(c)
	defer line.clear()
	i.show = func(done imported) { line.show("%s%s", source.bar(), plural(done.Lines, "line")) }
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		i.client = cl
		if err := i.run(ctx); err != nil {
			return err
		}
		line.clear()
		d := i.done
		left := ""
		if d.LeftOut > 0 {
			left = fmt.Sprintf("; %s left out, as a register takes one of those that were written at the same time", plural(d.LeftOut, "value"))
		}
		return answer(c, d, text("%s imported: %s, %s, %s%s", plural(d.Lines, "line"),
			plural(d.Counters, "counter"), plural(d.Elements, "element"), plural(d.Registers, "register"), left))
	})
}

// source is where lines come from.
type source struct {
	lines io.Reader
	close func() error
	size  int64 // 0: not known
	read  *atomic.Int64
}

// bar draws how much was read, if that is known.
func (s source) bar() string {
	if s.size == 0 {
		return ""
	}
	return bar(min(1, float64(s.read.Load())/float64(s.size))) + " "
}

// metered counts what is read.
type metered struct {
	io.Reader
	read *atomic.Int64
}

func (m metered) Read(b []byte) (int, error) {
	n, err := m.Reader.Read(b)
	m.read.Add(int64(n))
	return n, err
}

// openImport opens what the command line says, and unpacks it if it is compressed.
func openImport(c *cli.Context) (source, error) {
	s := source{close: func() error { return nil }, read: new(atomic.Int64)}
	from := c.App.Reader
	if path := c.Args().First(); path != "" && path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return s, usagef("%w", err)
		}
		from, s.close = file, file.Close
		if info, err := file.Stat(); err == nil {
			s.size = info.Size()
		}
	}
	r := bufio.NewReaderSize(metered{from, s.read}, 1<<20)
	s.lines = r
	if magic, _ := r.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(r)
		if err != nil {
			return s, errors.Join(usagef("it is compressed, and damaged: %w", err), s.close())
		}
		s.lines = unpacked
	}
	return s, nil
}

// block is some lines, and what comes after them: io.EOF, or why they end.
type block struct {
	lines []numbered
	end   error
}

// run writes block after block, while the next one is read.
func (i *importing) run(ctx context.Context) error {
	i.next = i.from
	blocks := make(chan block, 1)
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	go i.readAll(reading, blocks) // which may wait for stdin longer than anybody for it
	for {
		var b block
		select {
		case b = <-blocks:
		case <-ctx.Done():
			return i.stopped(errors.New("interrupted"))
		}
		// Not before: a block may be long in coming, and an id is too old at some time.
		i.id, i.first = cmp.Or(i.first, client.NewOperationID()), client.OperationID{}
		if err := i.writeAll(ctx, b.lines); err != nil {
			return i.stoppedIn(ctx, b, err)
		}
		switch {
		case b.end == nil:
		case errors.Is(b.end, io.EOF):
			return nil
		default:
			return i.stopped(b.end)
		}
		i.show(i.done)
	}
}

// readAll reads blocks until the last, or until ctx ends.
func (i *importing) readAll(ctx context.Context, blocks chan<- block) {
	for {
		b := i.read()
		select {
		case blocks <- b:
		case <-ctx.Done():
			return
		}
		if b.end != nil {
			return
		}
	}
}

func (i *importing) read() (b block) {
	for size := 0; len(b.lines) < blockLines && size < blockBytes; {
		l, err := i.reader.Next()
		if err != nil {
			b.end = err
			return b
		}
		if i.reader.Number() < i.from {
			continue
		}
		b.lines = append(b.lines, numbered{l, i.reader.Number()})
		for _, e := range l.Elements {
			size += len(e)
		}
		for _, v := range l.Values {
			size += len(v)
		}
	}
	return b
}

// stopped says how to go on after a block that is in.
func (i *importing) stopped(why error) error {
	return advised{fmt.Errorf("%w; %s: go on with --from %d", why, i.written(), i.next)}
}

// written says what is in.
func (i *importing) written() string {
	if i.next == i.from {
		return "nothing was written before"
	}
	return fmt.Sprintf("all lines before %d are in", i.next)
}

// stoppedIn says how to go on with a block of which some is in.
func (i *importing) stoppedIn(ctx context.Context, b block, why error) error {
	last := b.lines[len(b.lines)-1].number
	if ctx.Err() != nil {
		why = fmt.Errorf("%w: interrupted", client.ErrOutcomeUnknown)
	}
	if errors.Is(why, client.ErrNotRemembered) {
		return advised{fmt.Errorf("%w; %s, and of the lines up to %d some may be in: look, then go on with --from %d and without --id, and their counters count again", why, i.written(), last, i.next)}
	}
	return advised{fmt.Errorf("%w; %s, and of the lines up to %d some may be in: go on with --from %d --id %s within half an hour, and counters count once", why, i.written(), last, i.next, i.id)}
}

// writeAll writes the lines of a block, some at the same time: those of one key in
// their order.
func (i *importing) writeAll(ctx context.Context, lines []numbered) error {
	if len(lines) == 0 {
		return nil
	}
	var shares [importAtOnce][]numbered
	seed := maphash.MakeSeed()
	for _, l := range lines {
		n := maphash.String(seed, l.Key) % importAtOnce
		shares[n] = append(shares[n], l)
	}
	var failed atomic.Bool
	var errs [importAtOnce]error
	var writers sync.WaitGroup
	for n, share := range shares {
		writers.Go(func() {
			for _, l := range share {
				if failed.Load() {
					return
				}
				if err := i.write(ctx, l); err != nil {
					failed.Store(true)
					errs[n] = fmt.Errorf("line %d: %w", l.number, err)
					return
				}
			}
		})
	}
	writers.Wait()
	for _, err := range errs {
		if err != nil {
			return err // one of them
		}
	}
	for _, l := range lines {
		i.done.add(l.Line)
	}
	i.next = lines[len(lines)-1].number + 1
	return nil
}

func (d *imported) add(l transfer.Line) {
	d.Lines++
	d.Elements += len(l.Elements)
	switch l.Type {
	case crdt.TypeCounter:
		d.Counters++
	case crdt.TypeRegister:
		d.Registers++
		d.LeftOut += len(l.Values) - 1
	}
}

func (i *importing) write(ctx context.Context, l numbered) (err error) {
	if l.Type == crdt.TypeCounter {
		_, err := i.client.Counter(l.Key).AddOnce(ctx, i.idOf(l.number), l.Counter)
		return err
	}
	for range importTries {
		if l.Type == crdt.TypeSet {
			_, err = i.client.Set(l.Key).Add(ctx, l.Elements...)
		} else {
			err = i.client.Register(l.Key).Set(ctx, l.Values[0])
		}
		if !errors.Is(err, client.ErrOutcomeUnknown) || ctx.Err() != nil {
			break
		}
	}
	return err
}

// idOf returns the id under which the line of that number is counted.
func (i *importing) idOf(number int) client.OperationID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(i.id[:], uint64(number)))
	id := i.id
	copy(id[6:], sum[:]) // and it is as old as the block's
	return id
}
