package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// version is that of the format, in the first line.
const version = 1

// maxLine bounds a line: of four MiB of concurrent values, each byte takes at most
// six characters.
const maxLine = 32 << 20

// ErrBad says that a line is not as it should be, or that lines are missing.
var ErrBad = errors.New("bad import")

// first and last are lines around the data.
type first struct {
	Version int `json:"atoll_export"`
}

type last struct {
	Lines int `json:"lines"`
}

// Writer writes a file.
type Writer struct {
	w     io.Writer
	lines int // of data
}

// NewWriter writes the first line.
func NewWriter(w io.Writer) (*Writer, error) {
	out := &Writer{w: w}
	return out, out.put(first{version})
}

func (w *Writer) put(v any) error {
	b, err := marshal(v)
	if err == nil {
		_, err = w.w.Write(append(b, '\n'))
	}
	return err
}

// Write writes a line of data.
func (w *Writer) Write(l Line) error {
	b, err := l.encode()
	if err == nil {
		w.lines++
		_, err = w.w.Write(append(b, '\n'))
	}
	return err
}

// Finish writes the last line, once all was written, and returns how many lines of
// data there are.
func (w *Writer) Finish() (lines int, err error) { return w.lines, w.put(last{w.lines}) }

// Reader reads a file.
type Reader struct {
	scanner *bufio.Scanner
	number  int // of the line read last; the first has 1
	lines   int // of data
	began   bool
	ended   bool
}

// NewReader returns a reader of r.
func NewReader(r io.Reader) *Reader {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	return &Reader{scanner: s}
}

// Number returns the number of the line that Next has read, or has failed at.
func (r *Reader) Number() int { return r.number }

// Next returns the next line of data; io.EOF after the last. Other errors are
// ErrBad, or those of reading.
func (r *Reader) Next() (Line, error) {
	for r.scanner.Scan() {
		r.number++
		text := bytes.TrimSpace(r.scanner.Bytes())
		if len(text) == 0 {
			continue
		}
		o, err := parse(text)
		if err == nil && r.ended {
			err = errors.New("it comes after the last line of the export")
		}
		var l Line
		isData := false
		if err == nil {
			l, isData, err = r.take(o)
		}
		switch {
		case err != nil && r.scanner.Err() != nil:
			return Line{}, r.failed(r.scanner.Err()) // which has cut the line
		case err != nil:
			return Line{}, fmt.Errorf("%w: line %d: %w", ErrBad, r.number, err)
		case isData:
			return l, nil
		}
	}
	err := r.scanner.Err()
	r.number++
	switch {
	case err != nil:
		return Line{}, r.failed(err)
	case r.began && !r.ended:
		return Line{}, fmt.Errorf("%w: line %d is missing: the export was cut, as its last line would say how many there are", ErrBad, r.number)
	}
	return Line{}, io.EOF
}

func (r *Reader) failed(err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%w: line %d has more than %d bytes", ErrBad, r.number, maxLine)
	}
	return fmt.Errorf("line %d cannot be read: %w", r.number, err)
}

// take takes a line in, and says whether it is one of data.
func (r *Reader) take(o object) (l Line, isData bool, err error) {
	_, isFirst := o["atoll_export"]
	_, isLast := o["lines"]
	switch {
	case isFirst:
		return l, false, r.begin(o)
	case isLast:
		return l, false, r.end(o)
	}
	r.lines++
	l, err = o.line()
	return l, true, err
}

func (r *Reader) begin(o object) error {
	var f first
	_, err := o.take("atoll_export", &f.Version, "the number of a format")
	switch {
	case err != nil:
		return err
	case r.number != 1:
		return errors.New("it is the first line of an export")
	case f.Version != version:
		return fmt.Errorf("the export has format %d; this program reads format %d", f.Version, version)
	}
	r.began = true
	return o.rest()
}

func (r *Reader) end(o object) error {
	var e last
	_, err := o.take("lines", &e.Lines, "a number of lines")
	switch {
	case err != nil:
		return err
	case !r.began:
		return errors.New("it is the last line of an export that has no first line")
	case e.Lines != r.lines:
		return fmt.Errorf("the export had %d lines of data, here are %d", e.Lines, r.lines)
	}
	r.ended = true
	return o.rest()
}
