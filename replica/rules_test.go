package replica

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
)

// TestDocumentedLimits holds the tables of limits and tags in docs/merge-rules.md
// against the code. Those of what merges how are run in package crdt.
func TestDocumentedLimits(t *testing.T) {
	text, err := os.ReadFile("../docs/merge-rules.md")
	if err != nil {
		t.Fatal(err)
	}
	limits := map[string]int{
		"bytes of a key": crdt.MaxKeyBytes, "bytes of an element of a set": crdt.MaxElementBytes,
		"bytes of a value of a register": crdt.MaxValueBytes,
		"operations in a request":        maxOperations, "elements in a request": maxElements,
		"bytes in a request, a key counting with each of its elements": maxRequestBytes,
	}
	tags := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 2 {
			continue
		}
		left, right := strings.Trim(cells[0], " `"), strings.Trim(cells[1], " `")
		if n, err := strconv.Atoi(right); err == nil {
			if limits[left] != n {
				t.Errorf("%q: at most %d, and the page says %d", left, limits[left], n)
			}
			delete(limits, left)
		} else if strings.HasPrefix(cells[0], " `") {
			if tags++; ring.Tag(left) != right {
				t.Errorf("the tag of %q is %q, and the page says %q", left, ring.Tag(left), right)
			}
		}
	}
	if tags < 5 {
		t.Errorf("found %d tags", tags)
	}
	for left := range limits {
		t.Errorf("the page does not say how many %s", left)
	}
}

// TestDocumentedNumbers holds the table of protocols and formats in
// docs/operating.md against the code.
func TestDocumentedNumbers(t *testing.T) {
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		fmt.Sprintf("| protocol, of what members and clients say | %d | %d, and messages without a number, which are taken for 1 |", pb.Protocol, pb.OldestProtocol),
		fmt.Sprintf("| disk format, of a data directory | %d | %d and %[1]d |", Format, OldestFormat),
		fmt.Sprintf("| disk format, in a backup | %d | %[1]d |", Format),
	} {
		if !strings.Contains(string(text), "\n"+row+"\n") {
			t.Errorf("the page does not say %s", row)
		}
	}
}
