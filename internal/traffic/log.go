package traffic

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync/atomic"
)

// Log is an access log that is being read, once, from its beginning to its end.
type Log struct {
	name  string
	file  io.ReadCloser
	total int64
	read  atomic.Int64

	// lines holds a line of MaxLineBytes and its "\r\n", and no more: a line
	// that does not fit is too long.
	lines *bufio.Reader
	line  int // number of the line read last, from 1
}

// Open opens the access log at path: plain text, or gzip, whatever it is
// called. The caller closes it.
func Open(path string) (*Log, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory; want a log in combined format, plain or gzip", path)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open access log: %w", err)
	}
	log, err := newLog(path, file, info.Size())
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return log, nil
}

// newLog reads from file, which it owns once it has returned without an error.
func newLog(name string, file io.ReadCloser, total int64) (*Log, error) {
	l := &Log{name: name, file: file, total: total}
	raw := bufio.NewReader(counted{l})
	var text io.Reader = raw
	magic, err := raw.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if text, err = gzip.NewReader(raw); err != nil {
			return nil, l.damaged(err)
		}
	}
	l.lines = bufio.NewReaderSize(text, MaxLineBytes+len("\r\n"))
	return l, nil
}

// counted adds what is read from the file to the log's progress.
type counted struct{ log *Log }

func (c counted) Read(p []byte) (int, error) {
	n, err := c.log.file.Read(p)
	c.log.read.Add(int64(n))
	return n, err
}

// Hits yields the hits of the log in its order; empty lines are passed over.
//
// A line that cannot be understood is yielded as an error that wraps ErrSyntax
// and names the line; a caller that goes on gets the lines after it. Any other
// error (reading failed, damaged gzip) is the last thing yielded. A caller that
// stopped may call Hits again and goes on where it stopped.
func (l *Log) Hits() iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		for {
			hit, err := l.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(hit, err) || err != nil && !errors.Is(err, ErrSyntax) {
				return
			}
		}
	}
}

// next returns the next hit, or io.EOF alone at the end.
func (l *Log) next() (Hit, error) {
	for {
		line, err := l.readLine()
		if err != nil {
			return Hit{}, err
		}
		if len(trimEnding(line)) == 0 {
			continue
		}
		hit, err := ParseLine(line)
		if err != nil {
			return Hit{}, l.at(err)
		}
		return hit, nil
	}
}

// readLine returns the next line with its ending, valid until the next call.
// Of a line that is too long it keeps nothing and skips the rest.
func (l *Log) readLine() ([]byte, error) {
	line, err := l.lines.ReadSlice('\n')
	if len(line) > 0 {
		l.line++
	}
	switch {
	case err == nil:
		return line, nil
	case errors.Is(err, io.EOF):
		if len(line) > 0 {
			return line, nil // the last line has no ending
		}
		return nil, io.EOF
	case !errors.Is(err, bufio.ErrBufferFull):
		return nil, l.damaged(err)
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = l.lines.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, l.damaged(err)
	}
	return nil, l.at(tooLong())
}

func (l *Log) at(err error) error { return fmt.Errorf("%s: line %d: %w", l.name, l.line, err) }

// damaged explains why reading failed after the last whole line.
func (l *Log) damaged(err error) error {
	var broken *os.PathError
	if errors.As(err, &broken) {
		return fmt.Errorf("read access log after line %d: %w", l.line, err)
	}
	return fmt.Errorf("%s: the gzip data is damaged or cut off after line %d (gzip -t tells): %w", l.name, l.line, err)
}

// Progress returns how many bytes of the file have been read, compressed ones
// for gzip, and how many it had when it was opened: 0 if that is not known, as
// for a pipe. It reads ahead of the hits by a buffer, and beyond the total if
// the file grows. It may be called from any goroutine.
func (l *Log) Progress() (read, total int64) { return l.read.Load(), l.total }

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }
