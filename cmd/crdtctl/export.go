package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/transfer"
)

const (
	// exportAtOnce is how many objects are read at the same time.
	exportAtOnce = 32
	// A line of a set has up to maxPart elements, and partBytes bytes of them and
	// their keys, but for one element.
	maxPart   = 1000
	partBytes = 256 << 10
	// showEvery is the time between two looks at a progress.
	showEvery = 100 * time.Millisecond
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", ArgsUsage: "[PREFIX]",
		Usage: "write what there is as JSON lines, for import or other programs",
		Description: `Of all keys, or of those that begin with PREFIX, in their order; large sets in
several lines. A FILE is there only once it is complete, and is compressed if its
name ends in .gz:

   {"atoll_export":1}
   {"key":"likes:42","type":"counter","value":"-5"}
   {"key":"cart","type":"set","elements":["fig"],"elements_base64":["/w=="]}
   {"key":"name","type":"register","value":"Ada","siblings":[{"value":"Eve"}]}
   {"lines":3}

What is no text stands in base64, as key_base64, value_base64, elements_base64. The
value of a counter is a string, as many programs read numbers as floating point;
siblings are the concurrent values of a register besides the one that counts. It is
no snapshot: what changes meanwhile is as it was before or after. For that, and for
all that a member has to know, see backup.`,
		Before: takes(0, 1),
		Flags: []cli.Flag{
			typeFlag(),
			&cli.StringFlag{Name: "out", TakesFile: true, Value: "-", Usage: "write into `FILE`; - is stdout"},
		},
		Action: reading(export),
	}
}

// exporting is an export under way.
type exporting struct {
	client  *client.Client
	line    progress
	objects int
	lines   int
	shown   time.Time
}

func export(c *cli.Context) error {
	o, err := scanOptions(c)
	if err != nil {
		return err
	}
	path := c.String("out")
	if path != "-" {
		if err := notThere(path); err != nil {
			return err
		}
	}
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		e := &exporting{client: cl, line: newProgress(c)}
		defer e.line.clear()
		if path == "-" {
			w := bufio.NewWriter(c.App.Writer)
			return errors.Join(e.write(ctx, w, o), w.Flush())
		}
		err := newFile(path, func(w io.Writer) error {
			if !strings.HasSuffix(path, ".gz") {
				return e.write(ctx, w, o)
			}
			compressed := gzip.NewWriter(w)
			return errors.Join(e.write(ctx, compressed, o), compressed.Close())
		})
		if err != nil {
			return err
		}
		e.line.clear()
		return answer(c, map[string]any{"file": path, "objects": e.objects, "lines": e.lines},
			text("%s: %s in %s", path, plural(e.objects, "object"), plural(e.lines, "line")))
	})
}

// write writes all objects of a scan, in its order.
func (e *exporting) write(ctx context.Context, to io.Writer, o client.ScanOptions) error {
	w, err := transfer.NewWriter(to)
	if err != nil {
		return err
	}
	reading, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	objects := make(chan chan part, exportAtOnce)
	readers.Go(func() {
		defer close(objects)
		e.readAll(reading, &readers, o, objects)
	})
	for parts := range objects {
		for p := range parts {
			if p.err != nil {
				return p.err
			}
			if err := w.Write(p.line); err != nil {
				return err
			}
			e.lines++
		}
		e.objects++
		if now := time.Now(); now.Sub(e.shown) > showEvery {
			e.shown = now
			e.line.show("%s", plural(e.objects, "object"))
		}
	}
	if err := ctx.Err(); err != nil { // who reads may have seen it first, and ended
		return err
	}
	_, err = w.Finish()
	return err
}

// part is a line, or why there are no more.
type part struct {
	line transfer.Line
	err  error
}

// readAll reads the objects of a scan, some at the same time, and hands over the
// parts of each in the order of the scan.
func (e *exporting) readAll(ctx context.Context, readers *sync.WaitGroup, o client.ScanOptions, objects chan<- chan part) {
	for object, err := range e.client.Scan(ctx, o) {
		parts := make(chan part, 1)
		if err != nil {
			parts <- part{err: err}
			close(parts)
		} else {
			readers.Go(func() {
				defer close(parts)
				send := func(p part) bool {
					select {
					case parts <- p:
						return true
					case <-ctx.Done():
						return false
					}
				}
				if err := e.read(ctx, object, func(l transfer.Line) bool { return send(part{line: l}) }); err != nil {
					send(part{err: err})
				}
			})
		}
		select {
		case objects <- parts:
		case <-ctx.Done():
			return
		}
	}
}

// read reads an object, in parts if it is large: none if it is gone by now.
func (e *exporting) read(ctx context.Context, o client.Object, send func(transfer.Line) bool) error {
	l := transfer.Line{Key: o.Key, Type: o.Type}
	switch o.Type {
	case crdt.TypeCounter:
		n, err := e.client.Counter(o.Key).Value(ctx)
		if err == nil && n == 0 {
			var held []crdt.Type
			if held, err = e.client.Types(ctx, o.Key); !slices.Contains(held, o.Type) {
				return err
			}
		}
		if err != nil {
			return err
		}
		l.Counter = n
	case crdt.TypeRegister:
		siblings, err := e.client.Register(o.Key).Siblings(ctx)
		if errors.Is(err, client.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, s := range siblings {
			l.Values = append(l.Values, s.Value)
		}
	case crdt.TypeSet:
		return e.readSet(ctx, o.Key, send)
	}
	send(l)
	return nil
}

func (e *exporting) readSet(ctx context.Context, key string, send func(transfer.Line) bool) error {
	l, size := transfer.Line{Key: key, Type: crdt.TypeSet}, 0
	for element, err := range e.client.Set(key).Members(ctx) {
		if err != nil {
			return err
		}
		l.Elements = append(l.Elements, element)
		if size += len(key) + len(element); len(l.Elements) == maxPart || size > partBytes {
			if !send(l) {
				return nil
			}
			l.Elements, size = nil, 0
		}
	}
	if len(l.Elements) > 0 {
		send(l)
	}
	return nil
}
