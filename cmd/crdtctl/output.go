package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// answer prints an answer: v as JSON if that was asked for, else what people
// writes, with columns between tabs aligned.
func answer(c *cli.Context, v any, people func(w io.Writer)) error {
	var b bytes.Buffer
	if c.Bool("json") {
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		people(w)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := c.App.Writer.Write(b.Bytes())
	return err
}

// text writes a line for people.
func text(format string, args ...any) func(io.Writer) {
	return func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) }
}

// plural returns a number of things.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// jsonValue is a value of any bytes: as text if it is text, else as base64.
type jsonValue struct {
	Text   *string `json:"value,omitempty"`
	Base64 []byte  `json:"value_base64,omitempty"`
}

func valueOf(b []byte) jsonValue {
	if s := string(b); utf8.ValidString(s) {
		return jsonValue{Text: &s}
	}
	return jsonValue{Base64: b}
}

// jsonElement is the same of an element.
type jsonElement struct {
	Text   *string `json:"element,omitempty"`
	Base64 []byte  `json:"element_base64,omitempty"`
}

func elementOf(s string) jsonElement { return jsonElement(valueOf([]byte(s))) }

// jsonKey is the same of a key.
type jsonKey struct {
	Text   *string `json:"key,omitempty"`
	Base64 []byte  `json:"key_base64,omitempty"`
}

func keyOf(s string) jsonKey { return jsonKey(valueOf([]byte(s))) }

// seconds and milliseconds are units of JSON fields.
func seconds(d time.Duration) float64      { return float64(d.Milliseconds()) / 1e3 }
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// ms returns a number of milliseconds of a message as a duration.
func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// eraseLine takes a terminal back to the start of an empty line.
const eraseLine = "\r\x1b[K"

// progress is a line on the terminal that is written over; nothing elsewhere.
type progress struct{ w io.Writer }

func newProgress(c *cli.Context) progress {
	if c.Bool("json") || !isTerminal(c.App.ErrWriter) {
		return progress{io.Discard}
	}
	return progress{c.App.ErrWriter}
}

func (p progress) show(format string, args ...any) {
	fmt.Fprintf(p.w, eraseLine+format, args...)
}

// bar draws a part of a whole.
func bar(part float64) string {
	const width = 20
	done := int(part * width)
	return "[" + strings.Repeat("=", done) + strings.Repeat(" ", width-done) + "]"
}

func (p progress) clear() { fmt.Fprint(p.w, eraseLine) }
