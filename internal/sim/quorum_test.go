package sim

import (
	"fmt"
	"math/bits"
	"testing"

	pb "github.com/atolldb/atoll/proto"
)

// Which levels must meet is what trying all sets of owners says.
func TestMeet(t *testing.T) {
	levels := []pb.Consistency{
		pb.Consistency_ONE, pb.Consistency_LOCAL_QUORUM, pb.Consistency_QUORUM, pb.Consistency_EACH_QUORUM, pb.Consistency_ALL,
	}
	at := func(level pb.Consistency, region string) *request {
		return &request{level: level, member: &member{Member: Member{Region: region}}}
	}
	for _, o := range []owners{{"eu": 1}, {"eu": 1, "us": 1}, {"eu": 2, "us": 1}, {"eu": 3, "us": 1}, {"eu": 3, "us": 2}} {
		for _, writeAt := range levels {
			for _, readAt := range levels {
				for _, region := range []string{"eu", "us"} {
					if o[region] == 0 {
						continue
					}
					write, read := at(writeAt, "eu"), at(readAt, region)
					if got, want := o.meet(write, read, owners{}), alwaysMeet(o, write, read, 0); got != want {
						t.Errorf("%v, a write at %v in eu and a read at %v in %s: %v, want %v", o, writeAt, readAt, region, got, want)
					}
					for _, losing := range []string{"eu", "us"} {
						lost := owners{losing: 1}
						if o[losing] > 0 && o.meet(write, read, lost) && !alwaysMeet(o, write, read, lostIn(o, losing)) {
							t.Errorf("%v, a write at %v in eu and a read at %v in %s need not meet if one in %s forgets", o, writeAt, readAt, region, losing)
						}
					}
				}
			}
		}
	}
}

// Owners are bits: those in eu first. lostIn returns those that may forget.
func lostIn(o owners, region string) uint {
	if region == "eu" {
		return 1<<o["eu"] - 1
	}
	return 1<<o.sum() - 1<<o["eu"]
}

// alwaysMeet tries all sets, and has each of some owners forget.
func alwaysMeet(o owners, write, read *request, mayForget uint) bool {
	for wrote := range uint(1) << o.sum() {
		for asked := range uint(1) << o.sum() {
			if !enough(o, write, wrote) || !enough(o, read, asked) {
				continue
			}
			for forgot := range o.sum() {
				if mayForget>>forgot&1 == 1 && wrote&^(1<<forgot)&asked == 0 {
					return false
				}
			}
			if wrote&asked == 0 {
				return false
			}
		}
	}
	return true
}

// enough says whether a set of owners is what a level takes.
func enough(o owners, r *request, set uint) bool {
	in := owners{}
	for _, region := range []string{"eu", "us"} {
		in[region] = bits.OnesCount(set & lostIn(o, region))
	}
	majority := func(region string) bool { return 2*in[region] > o[region] }
	switch r.level {
	case pb.Consistency_ONE:
		return in[r.member.Region] > 0
	case pb.Consistency_LOCAL_QUORUM:
		return majority(r.member.Region)
	case pb.Consistency_QUORUM:
		return 2*in.sum() > o.sum()
	case pb.Consistency_EACH_QUORUM:
		return majority("eu") && (o["us"] == 0 || majority("us"))
	case pb.Consistency_ALL:
		return in.sum() == o.sum()
	}
	panic(fmt.Sprint(r.level))
}
