package badgerstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/internal/allocs"
	"github.com/atolldb/atoll/internal/store"
)

// smallTable returns the parts of a table with a few keys: its one block and its
// index, both without their checksums.
func smallTable(tb testing.TB) (block, index []byte) {
	tb.Helper()
	dir := tb.TempDir()
	s, err := Open(Options{Dir: dir, Durability: OS})
	if err != nil {
		tb.Fatal(err)
	}
	var b store.Batch
	for _, key := range []string{"a", "ab", "b"} {
		b.Put([]byte(key), []byte("value of "+key))
	}
	if err := errors.Join(s.Commit(&b), s.Close()); err != nil {
		tb.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(paths) != 1 {
		tb.Fatal(paths, err)
	}
	file, err := os.Open(paths[0])
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	index, length, err := readIndex(file, info.Size())
	if err != nil || fb.GetRootAsTableIndex(index, 0).OffsetsLength() != 1 {
		tb.Fatal(err, "or more than one block")
	}
	block = make([]byte, length)
	if _, err := file.ReadAt(block, 0); err != nil {
		tb.Fatal(err)
	}
	end := len(block) - 4
	return block[:end-int(binary.BigEndian.Uint32(block[end:]))], index
}

// sealed appends to bytes of a table their checksum and its length.
func sealed(tb testing.TB, b, of []byte) []byte {
	tb.Helper()
	sum, err := proto.Marshal(&pb.Checksum{Algo: pb.Checksum_CRC32C, Sum: y.CalculateChecksum(of, pb.Checksum_CRC32C)})
	if err != nil {
		tb.Fatal(err)
	}
	return binary.BigEndian.AppendUint32(append(b, sum...), uint32(len(sum)))
}

// corruptOrFine checks that reading what a number of bytes make allocates in
// proportion to them, and says in one line that it is damaged, if it does.
func corruptOrFine(t *testing.T, size int, read func() error) {
	t.Helper()
	var err error
	allocs.Check(t, size, 3<<20, 400, func() { err = read() }) // a buffer takes 1 MiB
	if err != nil && (!errors.Is(err, store.ErrCorrupt) || strings.Contains(err.Error(), "\n")) {
		t.Errorf("the error is not one line of ErrCorrupt: %q", err)
	}
}

// FuzzTable puts bytes into a table: as its one block and as its index, with a
// checksum that is right or with what there is; or as the whole file. It is sound
// only if both have their checksums.
func FuzzTable(f *testing.F) {
	block, index := smallTable(f)
	whole := sealed(f, block[:len(block):len(block)], block)
	whole = binary.BigEndian.AppendUint32(append(whole, index...), uint32(len(index)))
	whole = sealed(f, whole, index)
	f.Add(block, index, true, true)
	f.Add(block, index, false, true)
	f.Add(block, index, true, false)
	f.Add(block[1:], index, true, true) // a block that is shorter than the index says
	f.Add([]byte{}, whole, false, false)
	f.Add([]byte{}, whole[:len(whole)-1], false, false)
	f.Add([]byte{}, []byte{}, true, true)
	path := filepath.Join(f.TempDir(), "000001.sst")
	f.Fuzz(func(t *testing.T, block, index []byte, sealBlock, sealIndex bool) {
		file := append([]byte{}, block...)
		if sealBlock {
			file = sealed(t, file, block)
		}
		file = append(file, index...)
		if sealIndex {
			file = sealed(t, binary.BigEndian.AppendUint32(file, uint32(len(index))), index)
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		corruptOrFine(t, len(file), func() error {
			size, err := verifyTable(path, true)
			if err == nil && size != int64(len(file)) {
				t.Errorf("it has %d bytes of %d", size, len(file))
			}
			return err
		})
	})
}

// FuzzManifest puts bytes into the manifest of a directory, as a change with its
// checksum and as what follows. The directory is refused, or has the tables that
// the manifest names: none.
func FuzzManifest(f *testing.F) {
	for _, changes := range [][]*pb.ManifestChange{
		{},
		{{Id: 1, Op: pb.ManifestChange_CREATE}},
		{{Id: 1, Op: pb.ManifestChange_CREATE}, {Id: 1, Op: pb.ManifestChange_DELETE}},
		{{Id: 1, Op: pb.ManifestChange_CREATE, Level: 1 << 20}},
		{{Id: 1, Op: 7}},
	} {
		b, err := proto.Marshal(&pb.ManifestChangeSet{Changes: changes})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte{}, uint16(8))
		f.Add(b, manifestRecord(b), uint16(7))
	}
	f.Fuzz(func(t *testing.T, change, rest []byte, version uint16) {
		dir := t.TempDir()
		text := binary.BigEndian.AppendUint16([]byte("Bdgr\x00\x00"), version)
		text = append(append(text, manifestRecord(change)...), rest...)
		if err := os.WriteFile(filepath.Join(dir, badger.ManifestFilename), text, 0o600); err != nil {
			t.Fatal(err)
		}
		corruptOrFine(t, len(text), func() error {
			err := verifyDir(dir, 1<<20)
			if m, _, again := readManifest(dir); err == nil && (again != nil || len(m.Tables) > 0) {
				t.Errorf("%d tables are there, %v", len(m.Tables), again)
			}
			return err
		})
	})
}

// manifestRecord returns a change as it lies in a manifest.
func manifestRecord(change []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(change)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(change, y.CastagnoliCrcTable))
	return append(b, change...)
}

// TestBlockBeyondTheEnd: the length of a block in an index is not believed, and
// no memory made ready for it, if the table has not as many bytes.
func TestBlockBeyondTheEnd(t *testing.T) {
	block, index := smallTable(t)
	var offset fb.BlockOffset
	fb.GetRootAsTableIndex(index, 0).Offsets(&offset, 0)
	if !offset.MutateLen(1 << 30) {
		t.Fatal("the index does not say how long the block is")
	}
	file := sealed(t, block[:len(block):len(block)], block)
	file = sealed(t, binary.BigEndian.AppendUint32(append(file, index...), uint32(len(index))), index)
	path := filepath.Join(t.TempDir(), "000001.sst")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	corruptOrFine(t, len(file), func() error {
		_, err := verifyTable(path, true)
		if err == nil {
			t.Error("it is taken for sound")
		}
		return err
	})
}

// TestManifestOfManyLevels: a table on a level that there is not is damage, and
// not room for all levels below it.
func TestManifestOfManyLevels(t *testing.T) {
	change, err := proto.Marshal(&pb.ManifestChangeSet{Changes: []*pb.ManifestChange{{Id: 1, Op: pb.ManifestChange_CREATE, Level: 1 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := append([]byte("Bdgr\x00\x00\x00\x08"), manifestRecord(change)...)
	if err := os.WriteFile(filepath.Join(dir, badger.ManifestFilename), text, 0o600); err != nil {
		t.Fatal(err)
	}
	corruptOrFine(t, len(text), func() error {
		_, _, err := readManifest(dir)
		if err == nil {
			t.Error("it is taken for sound")
		}
		return err
	})
}
