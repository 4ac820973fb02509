package badgerstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/internal/store"
)

// Badger ends the process when the end of a table is damaged, deletes all
// tables when the manifest is gone, and reads past damaged blocks without a
// word. So the files are looked at before Badger gets them, and again from time
// to time.
//
// The end of a table (numbers are big endian):
//
//	blocks | index | index length, 4 | checksum | checksum length, 4
//
// and of a block:
//
//	entries | entry offsets | count, 4 | checksum | checksum length, 4
//
// A checksum is a protobuf Checksum of all that is before it: of the index
// alone at the end of a table.

// verifyDir checks the manifest and the tables it names: their indexes, and the
// newest ones whole, up to limit bytes in all. It removes log files that are
// empty because a crash came between making or emptying them and the next step;
// Badger would not open the directory.
//
// A crash may tear the last change off the manifest, and Badger then goes on
// without it. After a clean close, which leaves no memtable log, nothing can be
// torn, and what the manifest has forgotten would be deleted.
func verifyDir(dir string, limit int64) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	data, tables, logs := 0, 0, 0
	for _, file := range files {
		switch filepath.Ext(file.Name()) {
		case ".sst":
			data++
			tables++
		case ".mem", ".vlog":
			if filepath.Ext(file.Name()) == ".mem" {
				logs++
			}
			info, err := file.Info()
			if err != nil {
				return fmt.Errorf("data directory: %w", err)
			}
			if info.Size() > 0 {
				data++
			} else if err := os.Remove(filepath.Join(dir, file.Name())); err != nil {
				return fmt.Errorf("data directory: %w", err)
			}
		}
	}
	manifest, torn, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if data > 0 {
			return fmt.Errorf("%w: %s has %d data files but no MANIFEST", store.ErrCorrupt, dir, data)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if logs == 0 && (torn || tables > 0 && len(manifest.Tables) == 0) {
		return fmt.Errorf("%w: MANIFEST in %s is cut short", store.ErrCorrupt, dir)
	}
	return verifyTables(dir, manifest, limit)
}

// readManifest returns the manifest, and whether its last change is torn.
func readManifest(dir string) (m badger.Manifest, torn bool, err error) {
	file, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return m, false, fmt.Errorf("data directory: %w", err)
	}
	defer file.Close()
	defer recovered("reading MANIFEST in "+dir, &err)
	if err := checkLevels(file); err != nil {
		return m, false, fmt.Errorf("%w: MANIFEST in %s: %s", store.ErrCorrupt, dir, err)
	}
	m, end, err := badger.ReplayManifestFile(file, 0, badger.Options{})
	if err != nil {
		return m, false, fmt.Errorf("%w: MANIFEST in %s: %s", store.ErrCorrupt, dir, firstLine(err))
	}
	info, err := file.Stat()
	if err != nil {
		return m, false, fmt.Errorf("data directory: %w", err)
	}
	return m, end < info.Size(), nil
}

// checkLevels reads a manifest for tables on levels that there are not: Badger
// makes room for as many levels as it names. Whatever else is wrong with it is left
// to Badger. After a head of 8 bytes come changes:
//
//	length, 4 | checksum, 4 | protobuf ManifestChangeSet
func checkLevels(file io.ReadSeeker) error {
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	const head = 8
	for rest := text[min(head, len(text)):]; len(rest) >= head; {
		length := uint64(binary.BigEndian.Uint32(rest))
		if rest = rest[head:]; length > uint64(len(rest)) {
			break
		}
		var set pb.ManifestChangeSet
		if proto.Unmarshal(rest[:length], &set) != nil {
			break
		}
		for _, change := range set.GetChanges() {
			if change.GetLevel() >= uint32(badger.DefaultOptions("").MaxLevels) {
				return fmt.Errorf("table %d is on level %d", change.GetId(), change.GetLevel())
			}
		}
		rest = rest[length:]
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}

func verifyTables(dir string, m badger.Manifest, limit int64) error {
	var ids []uint64
	for id := range m.Tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range slices.Backward(ids) {
		path := table.NewFilename(id, dir)
		size, err := verifyTable(path, limit > 0 && m.Tables[id].Compression == options.None)
		if err != nil {
			return err
		}
		limit -= size
	}
	return nil
}

// verifyTable checks the index of a table, and every block if whole. It returns
// the table's size. Damage is store.ErrCorrupt.
func verifyTable(path string, whole bool) (size int64, err error) {
	damaged := func(format string, args ...any) (int64, error) {
		return 0, fmt.Errorf("%w: table %s: %s", store.ErrCorrupt, path, fmt.Sprintf(format, args...))
	}
	defer recovered("table "+path, &err)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("is missing")
	}
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	index, blocks, err := readIndex(file, info.Size())
	if err != nil {
		return damaged("%s", firstLine(err))
	}
	if whole {
		if err := verifyBlocks(file, blocks, fb.GetRootAsTableIndex(index, 0)); err != nil {
			return damaged("%s", firstLine(err))
		}
	}
	return info.Size(), nil
}

// readIndex returns a table's index, checked, and the length of its blocks.
func readIndex(file io.ReaderAt, size int64) (index []byte, blocks int64, err error) {
	end := size
	// take reads the n bytes before end and moves end there.
	take := func(n int64) ([]byte, error) {
		if n < 0 || n > end {
			return nil, fmt.Errorf("its end is damaged, at byte %d of %d", end, size)
		}
		end -= n
		part := make([]byte, n)
		_, err := file.ReadAt(part, end)
		return part, err
	}
	takeCounted := func() ([]byte, error) {
		n, err := take(4)
		if err != nil {
			return nil, err
		}
		return take(int64(binary.BigEndian.Uint32(n)))
	}
	checksum, err := takeCounted()
	if err != nil {
		return nil, 0, err
	}
	if index, err = takeCounted(); err != nil {
		return nil, 0, err
	}
	if err := verifyChecksum(index, checksum); err != nil {
		return nil, 0, fmt.Errorf("its index: %w", err)
	}
	if len(index) == 0 {
		return nil, 0, errors.New("its index is empty")
	}
	return index, end, nil
}

// verifyBlocks reads all blocks, which lie one after the other from the start.
func verifyBlocks(file io.ReaderAt, length int64, index *fb.TableIndex) error {
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, length), 1<<20)
	var offset fb.BlockOffset
	var buf []byte
	for i := range index.OffsetsLength() {
		index.Offsets(&offset, i)
		if length -= int64(offset.Len()); length < 0 {
			return fmt.Errorf("block %d: of %d bytes, more than there are", i, offset.Len())
		}
		buf = slices.Grow(buf[:0], int(offset.Len()))[:offset.Len()]
		if _, err := io.ReadFull(in, buf); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		n := len(buf) - 4
		if n < 0 || int(binary.BigEndian.Uint32(buf[n:])) > n {
			return fmt.Errorf("block %d: its end is damaged", i)
		}
		start := n - int(binary.BigEndian.Uint32(buf[n:]))
		if err := verifyChecksum(buf[:start], buf[start:n]); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

var errChecksum = errors.New("the checksum does not match")

func verifyChecksum(data, checksum []byte) error {
	var c pb.Checksum
	if err := proto.Unmarshal(checksum, &c); err != nil {
		return errChecksum
	}
	if y.CalculateChecksum(data, c.Algo) != c.Sum { // panics on another algorithm
		return errChecksum
	}
	return nil
}
