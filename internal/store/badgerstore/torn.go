package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4/y"

	"github.com/atolldb/atoll/internal/store"
)

// A killed process leaves the log of a memtable, which Badger reads up to the
// first entry that it cannot read. Behind an entry that was torn by the kill there
// is nothing: commits are written one after the other, each synced before the
// next. Whole commits behind it tell that the log was damaged later, and that
// what Badger leaves out was acknowledged.
//
// After a head of 20 bytes a log has entries, each with a checksum of all before
// it. A transaction ends with an entry of a key of its own. Badger does not encrypt
// here.
//
//	flags, 1 | user's flags, 1 | key length, uvarint | value length, uvarint |
//	expiry, uvarint | key | value | checksum, 4
const (
	logHead  = 20
	flagPart = 1 << 6 // an entry of a transaction
	flagLast = 1 << 7 // its end
	lastKey  = "!badger!txn"
)

// checkLogs looks for damage in the middle of logs. What it finds it tells, and
// it has the directory look like a copy from then on, see Place: what is left is
// an older state, as a backup is.
func checkLogs(o Options) error {
	logs, err := filepath.Glob(filepath.Join(o.Dir, "*.mem"))
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, path := range logs {
		log, err := readLog(path)
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		sound := soundLog(log)
		lost := commitsIn(log[sound:])
		if lost == 0 {
			continue
		}
		o.Logger.Error("store: a log is damaged; what was committed behind the damage is left out",
			"log", path, "at", sound, "commits", lost)
		if err := forgetPlace(filepath.Join(o.Dir, placeFile)); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

// readLog reads what was written of a log, which is longer, and empty behind. Of
// what a loss of power leaves, a batch may be missing in front of what is there.
func readLog(path string) (log []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	const chunk = 1 << 20
	for written := 0; len(log)-written <= 2*store.MaxBatchBytes; {
		log = slices.Grow(log, chunk)
		n, err := io.ReadFull(file, log[len(log):len(log)+chunk])
		if len(bytes.TrimLeft(log[len(log):len(log)+n], "\x00")) > 0 {
			written = len(log) + n
		}
		log = log[:len(log)+n]
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return log, nil
}

// soundLog returns the length of the part of a log that Badger will read.
func soundLog(log []byte) int {
	sound := min(logHead, len(log))
	for at := sound; ; {
		flags, size := logEntry(log[at:])
		if size == 0 {
			return sound
		}
		if at += size; flags&flagPart == 0 {
			sound = at
		}
	}
}

// logEntry returns the flags and the size of the entry that a text begins with, 0
// if that is not a whole one.
func logEntry(text []byte) (flags byte, size int) {
	const lengths = 2
	if len(text) < lengths {
		return 0, 0
	}
	at := lengths
	var numbers [3]uint64 // key length, value length, expiry
	for i := range numbers {
		n, width := binary.Uvarint(text[at:])
		if width <= 0 {
			return 0, 0
		}
		numbers[i] = n
		at += width
	}
	key, value, rest := numbers[0], numbers[1], uint64(len(text)-at)
	if key == 0 || key > rest || value > rest-key || rest-key-value < crc32.Size {
		return 0, 0
	}
	end := at + int(key+value)
	if crc32.Checksum(text[:end], y.CastagnoliCrcTable) != binary.BigEndian.Uint32(text[end:]) {
		return 0, 0
	}
	return text[0], end + crc32.Size
}

// commitsIn counts the ends of transactions in a text that need not begin with an
// entry.
func commitsIn(text []byte) (n int) {
	const head = 5 // of an entry with a key and value of less than 128 bytes
	for {
		at := bytes.Index(text, []byte(lastKey))
		if at < 0 {
			return n
		}
		if at >= head {
			if flags, size := logEntry(text[at-head:]); size > 0 && flags&flagLast != 0 {
				n++
			}
		}
		text = text[at+len(lastKey):]
	}
}
