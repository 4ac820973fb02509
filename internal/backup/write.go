package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// Writer writes a backup. After an error it is of no use.
type Writer struct {
	w     io.Writer
	sum   hash.Hash
	block uint64 // number of the next
	pairs []byte
	total Total
}

// NewWriter begins a file.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	b := &Writer{w: w, sum: sha256.New()}
	if err := b.write(append([]byte(magic), version)); err != nil {
		return nil, err
	}
	header, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return b, b.put('H', header)
}

// Shard begins a shard.
func (b *Writer) Shard(shard int) error {
	if err := b.flush(); err != nil {
		return err
	}
	return b.put('S', binary.BigEndian.AppendUint16(nil, uint16(shard)))
}

// Put writes a pair, and keeps neither.
func (b *Writer) Put(key, value []byte) error {
	if len(key)+len(value)+8+blockBytes > maxBlock {
		return fmt.Errorf("backup: a value of %d bytes; at most %d fit", len(value), maxBlock-blockBytes)
	}
	b.pairs = binary.BigEndian.AppendUint32(b.pairs, uint32(len(key)))
	b.pairs = binary.BigEndian.AppendUint32(b.pairs, uint32(len(value)))
	b.pairs = append(append(b.pairs, key...), value...)
	b.total.Pairs++
	b.total.Bytes += uint64(len(key) + len(value))
	if len(b.pairs) < blockBytes {
		return nil
	}
	return b.flush()
}

func (b *Writer) flush() error {
	if len(b.pairs) == 0 {
		return nil
	}
	err := b.put('P', b.pairs)
	b.pairs = b.pairs[:0]
	return err
}

// Finish ends the file, which is no backup without.
func (b *Writer) Finish() (Total, error) {
	if err := b.flush(); err != nil {
		return Total{}, err
	}
	sum := b.sum.Sum(nil)
	b.total.Sum = hex.EncodeToString(sum)
	end := binary.BigEndian.AppendUint64(nil, b.total.Pairs)
	end = binary.BigEndian.AppendUint64(end, b.total.Bytes)
	return b.total, b.put('E', append(end, sum...))
}

func (b *Writer) put(kind byte, payload []byte) error {
	head := blockHead(kind, len(payload))
	check := binary.BigEndian.AppendUint32(nil, blockChecksum(b.block, head, payload))
	b.block++
	for _, part := range [][]byte{head, payload, check} {
		if err := b.write(part); err != nil {
			return err
		}
	}
	return nil
}

func (b *Writer) write(part []byte) error {
	_, _ = b.sum.Write(part) // writing to a hash does not fail
	_, err := b.w.Write(part)
	return err
}

func blockHead(kind byte, length int) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(length))
}

func blockChecksum(number uint64, head, payload []byte) uint32 {
	sum := crc32.Checksum(binary.BigEndian.AppendUint64(nil, number), castagnoli)
	return crc32.Update(crc32.Update(sum, castagnoli, head), castagnoli, payload)
}
