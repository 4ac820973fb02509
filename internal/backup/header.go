package backup

import (
	"errors"
	"hash/crc32"
)

const (
	magic   = "ATOLLBAK"
	version = 1

	// maxBlock bounds a block, and so what a damaged length can ask for;
	// blockBytes is how full one gets, but for one pair.
	maxBlock   = 64 << 20
	blockBytes = 256 << 10
	sumBytes   = 32
)

// ErrDamaged says that a file is not, or not all of, what was written.
var ErrDamaged = errors.New("damaged backup")

// ErrVersion says that another version of the program wrote the file.
var ErrVersion = errors.New("backup of another format")

// Header says whose backup it is.
type Header struct {
	Cluster string `json:"cluster"`
	Shards  int    `json:"shards"`
	Member  string `json:"member"`
	Region  string `json:"region"`
	Program string `json:"program"`
	// DiskFormat is that of the member's directory.
	DiskFormat int `json:"disk_format"`
	// Time is when it began, in unix milliseconds.
	Time int64 `json:"time"`
	// Since is the sum of the backup that this one follows; "" in a full one.
	Since string `json:"since,omitempty"`
	// Identity is what the directory says of itself.
	Identity []byte `json:"identity"`
}

// Total is what a file comes to.
type Total struct {
	Pairs, Bytes uint64
	Sum          string // hexadecimal
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
