package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Visitor is told what a backup has, in its order. An error of it ends the
// reading and is returned as it is. A nil function is not called.
type Visitor struct {
	Header func(Header) error
	Shard  func(shard int) error
	// Pair may not keep what it is given.
	Pair func(key, value []byte) error
}

// Read reads a backup to its end. Only when it returns no error was what the
// visitor was told all of what was written, and nothing else.
func Read(r io.Reader, v Visitor) (Header, Total, error) {
	b := &reader{r: r, sum: sha256.New(), visit: v}
	err := b.read()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it ends early: it was cut off, or never completed", ErrDamaged)
	}
	return b.header, b.total, err
}

type reader struct {
	r      io.Reader
	sum    hash.Hash
	visit  Visitor
	block  uint64
	header Header
	shards int // that have begun
	total  Total
}

func (b *reader) read() error {
	first := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(b.r, first); err != nil {
		return err
	}
	if string(first[:len(magic)]) != magic {
		return fmt.Errorf("%w: it does not begin like a backup", ErrDamaged)
	}
	if first[len(magic)] != version {
		return fmt.Errorf("%w: it has version %d, this program reads version %d", ErrVersion, first[len(magic)], version)
	}
	_, _ = b.sum.Write(first)
	for {
		before := b.sum.Sum(nil)
		kind, payload, err := b.next()
		if err != nil {
			return err
		}
		switch {
		case (kind == 'H') != (b.block == 1):
			err = b.damaged("is out of place")
		case kind == 'H':
			err = b.begin(payload)
		case kind == 'S':
			err = b.shard(payload)
		case kind == 'P':
			err = b.pairs(payload)
		case kind == 'E':
			return b.end(payload, before)
		default:
			err = b.damaged("is of no known kind")
		}
		if err != nil {
			return err
		}
	}
}

func (b *reader) damaged(what string) error {
	return fmt.Errorf("%w: block %d %s", ErrDamaged, b.block, what)
}

// next reads a block. Its memory grows with what is there, not with what a
// length claims.
func (b *reader) next() (kind byte, payload []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(b.r, head); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length > maxBlock {
		return 0, nil, fmt.Errorf("%w: block %d of %d bytes", ErrDamaged, b.block+1, length)
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, b.r, int64(length)+4); err != nil {
		return 0, nil, err
	}
	payload, check := body.Bytes()[:length], body.Bytes()[length:]
	if binary.BigEndian.Uint32(check) != blockChecksum(b.block, head, payload) {
		return 0, nil, fmt.Errorf("%w: block %d does not have its checksum", ErrDamaged, b.block+1)
	}
	b.block++
	_, _ = b.sum.Write(head)
	_, _ = b.sum.Write(body.Bytes())
	return head[0], payload, nil
}

func (b *reader) begin(payload []byte) error {
	if err := json.Unmarshal(payload, &b.header); err != nil {
		return fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	if b.visit.Header == nil {
		return nil
	}
	return b.visit.Header(b.header)
}

// shard checks that shards come one after the other: an increment replaces all.
func (b *reader) shard(payload []byte) error {
	if len(payload) != 2 || int(binary.BigEndian.Uint16(payload)) != b.shards || b.shards > b.header.Shards {
		return b.damaged("is of a shard out of order")
	}
	b.shards++
	if b.visit.Shard == nil {
		return nil
	}
	return b.visit.Shard(b.shards - 1)
}

func (b *reader) pairs(payload []byte) error {
	for len(payload) > 0 {
		if len(payload) < 8 {
			return b.damaged("ends in the middle of a pair")
		}
		key, value := uint64(binary.BigEndian.Uint32(payload)), uint64(binary.BigEndian.Uint32(payload[4:]))
		if payload = payload[8:]; key+value > uint64(len(payload)) || b.shards == 0 {
			return b.damaged("ends in the middle of a pair")
		}
		b.total.Pairs++
		b.total.Bytes += key + value
		if b.visit.Pair != nil {
			if err := b.visit.Pair(payload[:key:key], payload[key:key+value:key+value]); err != nil {
				return err
			}
		}
		payload = payload[key+value:]
	}
	return nil
}

func (b *reader) end(payload, sum []byte) error {
	if len(payload) != 16+sumBytes || b.shards != b.header.Shards+1 ||
		binary.BigEndian.Uint64(payload) != b.total.Pairs || binary.BigEndian.Uint64(payload[8:]) != b.total.Bytes ||
		!bytes.Equal(payload[16:], sum) {
		return fmt.Errorf("%w: it does not come to its total", ErrDamaged)
	}
	b.total.Sum = hex.EncodeToString(sum)
	if n, err := io.ReadFull(b.r, make([]byte, 1)); n > 0 || err != io.EOF {
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	return nil
}
