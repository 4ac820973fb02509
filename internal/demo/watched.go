package demo

import (
	"io"
	"sync"
)

// watched is a writer that says at once when nothing more can be written, so
// that nobody goes on showing what nobody sees.
type watched struct {
	io.Writer
	once   sync.Once
	failed func(error)
}

// Write implements io.Writer.
func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		w.once.Do(func() { w.failed(err) })
	}
	return n, err
}
