package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/internal/allocs"
	"github.com/atolldb/atoll/internal/backup"
	pb "github.com/atolldb/atoll/proto"
)

// FuzzLoadConfig: a configuration file is read, or refused in one line, and so
// is what it says.
func FuzzLoadConfig(f *testing.F) {
	f.Add([]byte("region = \"eu\"\ndata = \"/d\"\nshards = 8\n[listen]\nclient = \"127.0.0.1:0\"\n[regions]\nus = [\"10.0.0.1:7222\"]\n"))
	f.Add([]byte("# nothing\njoin = [\"a:1\", 'b']\nlog_limit = -1\ndurability = \"os\"\n"))
	f.Add([]byte("regions = 3\n"))
	f.Add([]byte("[regions.us]\n"))
	path := filepath.Join(f.TempDir(), "member.toml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(path)
		if err == nil {
			_, err = c.withDefaults()
		}
		if err == nil {
			return
		}
		if !errors.Is(err, ErrConfig) || strings.Contains(strings.TrimSpace(err.Error()), "\n") {
			t.Errorf("%q: the error is not one line of ErrConfig: %q", text, err)
		}
	})
}

// FuzzGreeting: whatever listens at an address to join, of what it says when
// somebody connects a name comes out or nothing, and no more is read than the
// greeting of a server can have.
func FuzzGreeting(f *testing.F) {
	f.Add([]byte("INFO {\"server_name\":\"eu.eu-1\",\"client_ip\":\"127.0.0.1\",\"max_payload\":4194304}\r\n"))
	f.Add([]byte("INFO {\"server_name\":\"eu.a b\",\"client_ip\":7}\n"))
	f.Add([]byte("INFO {\"server_name\":[\"eu\"],\"client_ip\":null,\"gateway\":\"us\"}\n"))
	f.Add([]byte("INFO []\n"))
	f.Add([]byte("INFO {")) // and nothing ends the line
	f.Add([]byte("SSH-2.0-OpenSSH_9.6\r\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		endless := &repeated{text: append(line, ' ')}
		var said map[string]any
		allocs.Check(t, 4*maxGreeting, 1<<20, 400, func() { said = greeting(endless) })
		if endless.read > 2*maxGreeting {
			t.Errorf("it reads %d bytes of a greeting", endless.read)
		}
		member, takesClients := memberOf(said)
		if _, told := said["client_ip"]; member != "" && !namePattern.MatchString(member) || takesClients != told {
			t.Errorf("%q is of member %q", line, member)
		}
	})
}

// repeated is a text without end.
type repeated struct {
	text []byte
	read int
}

func (r *repeated) Read(b []byte) (int, error) {
	n := copy(b, r.text[r.read%len(r.text):])
	r.read += n
	return n, nil
}

// joiner is a member that is told nothing of the cluster.
var joiner = Config{Region: "eu", Name: "eu-2", Data: "/d"}

// usable checks that a configuration which was made of what others say can be
// used, or that an error is one line.
func usable(t *testing.T, c Config, err error) {
	t.Helper()
	if err == nil {
		told := c
		if c, err = c.withDefaults(); err != nil {
			t.Errorf("%+v cannot be used: %v", told, err)
		}
		if c.Cluster != told.Cluster || c.Shards != told.Shards || c.Shards < 1 || c.Cluster == "" {
			t.Errorf("told of cluster %q of %d shards, it takes %q of %d", told.Cluster, told.Shards, c.Cluster, c.Shards)
		}
		return
	}
	if !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is not one line of ErrConfig: %q", err)
	}
}

// FuzzJoin: what a member to join says of its cluster, and the table of members
// that it gives, is refused in one line, or a member can start with it.
func FuzzJoin(f *testing.F) {
	add := func(status *pb.Status, members ...*pb.Member) {
		views := &pb.Members{}
		for _, m := range members {
			views.Members = append(views.Members, &pb.MemberView{Member: m})
		}
		a, err := proto.Marshal(status)
		if err != nil {
			f.Fatal(err)
		}
		b, err := proto.Marshal(views)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a, b)
	}
	three := []*pb.ShardState{{}, {Shard: 1}, {Shard: 2}}
	add(&pb.Status{Member: "eu-1", Cluster: "shop", Shards: three},
		&pb.Member{Name: "eu-1", Region: "eu", Route: "10.0.0.1:6222", Gateway: "10.0.0.1:7222"},
		&pb.Member{Name: "us-1", Region: "us", Route: "10.0.0.2:6222", Gateway: "10.0.0.2:7222"})
	add(&pb.Status{Member: "eu-1", Cluster: "shop", Shards: three},
		&pb.Member{Name: "us-1", Region: "a b", Gateway: "10.0.0.2:7222"}, &pb.Member{Name: "us-2", Gateway: "x:1"}, &pb.Member{Name: "us-3", Region: "us", Gateway: "x:y"})
	add(&pb.Status{Member: "eu-1", Cluster: "shop"})
	add(&pb.Status{Member: "eu-1", Shards: three})
	f.Fuzz(func(t *testing.T, status, table []byte) {
		var of pb.Status
		var views pb.Members
		if proto.Unmarshal(status, &of) != nil || proto.Unmarshal(table, &views) != nil {
			return
		}
		var members []*pb.Member
		for _, v := range views.GetMembers() {
			members = append(members, v.GetMember())
		}
		allocs.Check(t, len(status)+len(table), 1<<20, 400, func() {
			c, err := joiner.joining(&of, members)
			usable(t, c, err)
		})
	})
}

// FuzzMeeting: the same of what somebody at the servers of NATS says.
func FuzzMeeting(f *testing.F) {
	for _, info := range []*pb.ClusterInfo{
		{Cluster: "shop", Shards: 8, Region: "us", Regions: []string{"ap", "eu"}},
		{Cluster: "shop", Shards: 1 << 31}, {Shards: 8}, {Cluster: "shop"},
		{Error: &pb.Error{Code: pb.Error_PROTOCOL, Text: "no\nof two lines"}},
	} {
		b, err := proto.Marshal(info)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	attaching := joiner
	attaching.NATS = []string{"nats://127.0.0.1:4222"}
	f.Fuzz(func(t *testing.T, b []byte) {
		var info pb.ClusterInfo
		if proto.Unmarshal(b, &info) != nil {
			return
		}
		c, err := attaching.meets(&info)
		usable(t, c, err)
		if err == nil && (!c.joins() || c.seeds() != (info.GetRegion() == "eu" || slices.Contains(info.GetRegions(), "eu"))) {
			t.Errorf("of %v it takes that it joins others: %v, in its region: %v", &info, c.joins(), c.seeds())
		}
	})
}

// FuzzChain: of two files of backups, complete by themselves, that say of
// themselves what they like, the second follows the first, or that is refused in
// one line.
func FuzzChain(f *testing.F) {
	add := func(first, second backup.Header) {
		a, err := json.Marshal(first)
		if err != nil {
			f.Fatal(err)
		}
		b, err := json.Marshal(second)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a, b, true)
		f.Add(a, b, false)
	}
	full := backup.Header{Cluster: "c", Shards: 1, Member: "eu", Region: "eu", Program: Version, DiskFormat: 3, Time: 1, Identity: []byte("{}")}
	increment, other := full, full
	increment.Since, other.Member, other.Shards = "00", "two\nlines", -1
	add(full, increment)
	add(increment, full)
	add(full, other)
	dir := f.TempDir()
	paths := []string{filepath.Join(dir, "1"), filepath.Join(dir, "2")}
	f.Fuzz(func(t *testing.T, first, second []byte, follows bool) {
		var headers [2]backup.Header
		if json.Unmarshal(first, &headers[0]) != nil || json.Unmarshal(second, &headers[1]) != nil {
			return
		}
		sum := writeBackup(t, paths[0], headers[0])
		if follows {
			headers[1].Since = sum
		}
		writeBackup(t, paths[1], headers[1])
		r := Restore{Files: paths}
		var last backup.Header
		var err error
		allocs.Check(t, 4<<20, 1<<20, 400, func() { last, _, err = r.check(t.Context()) }) // the buffers are of that size
		a, b := headers[0], headers[1]
		fits := a.Since == "" && b.Since == sum && a.Cluster == b.Cluster && a.Member == b.Member && a.Shards == b.Shards && a.Shards >= 0 && a.Shards < 8
		for _, name := range []string{a.Cluster, a.Member, a.Region, b.Region} {
			fits = fits && namePattern.MatchString(name)
		}
		switch {
		case (err == nil) != fits:
			t.Errorf("%+v and %+v: %v", a, b, err)
		case err == nil && last.Since != sum:
			t.Errorf("the last is %+v", last)
		case err != nil && (!errors.Is(err, ErrChain) && !errors.Is(err, backup.ErrDamaged) || strings.Contains(err.Error(), "\n")):
			t.Errorf("the error is not one line of what it can be: %q", err)
		}
	})
}

// writeBackup writes a file with as many shards as its header says, but for
// those that are too many.
func writeBackup(t *testing.T, path string, h backup.Header) (sum string) {
	t.Helper()
	var file bytes.Buffer
	w, err := backup.NewWriter(&file, h)
	for shard := 0; err == nil && shard <= min(h.Shards, 7); shard++ {
		err = w.Shard(shard)
	}
	var total backup.Total
	if err == nil {
		total, err = w.Finish()
	}
	if err == nil {
		err = os.WriteFile(path, file.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return total.Sum
}

// TestToldNonsense: what a member to join leaves out of its cluster is not taken
// for a default, one that refuses to say is not taken for a cluster without a
// name, and a member in the table of a region that can be none keeps nobody from
// starting.
func TestToldNonsense(t *testing.T) {
	shards := make([]*pb.ShardState, 9)
	members := []*pb.Member{
		{Name: "us-1", Region: "u s", Gateway: "10.0.0.2:7222"}, {Name: "us-2", Gateway: "10.0.0.3:7222"},
		{Name: "us-3", Region: "us", Gateway: "10.0.0.4:7222"},
	}
	for name, status := range map[string]*pb.Status{
		"no cluster": {Shards: shards}, "no shards": {Cluster: "shop"}, "no shard but the system's": {Cluster: "shop", Shards: shards[:1]},
	} {
		if c, err := joiner.joining(status, members); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: cluster %q of %d shards, %v", name, c.Cluster, c.Shards, err)
		}
	}
	c, err := joiner.joining(&pb.Status{Cluster: "shop", Shards: shards}, members)
	if err != nil || c.Shards != 8 || len(c.Regions) != 1 || !slices.Equal(c.Regions["us"], []string{"10.0.0.4:7222"}) {
		t.Errorf("%d shards, regions %v, %v", c.Shards, c.Regions, err)
	}
	for name, info := range map[string]*pb.ClusterInfo{
		"no cluster": {Shards: 8}, "no shards": {Cluster: "shop"}, "a refusal": {Error: &pb.Error{Text: "it is of\na newer Atoll"}},
	} {
		if c, err := joiner.meets(info); !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: cluster %q of %d shards, %v", name, c.Cluster, c.Shards, err)
		}
	}
	if _, err := joiner.meets(&pb.ClusterInfo{Error: &pb.Error{Text: "it is too old"}}); err == nil || !strings.Contains(err.Error(), "it is too old") {
		t.Errorf("of a refusal it says %v", err)
	}
	if member, ok := memberOf(map[string]any{"client_ip": "127.0.0.1", "server_name": "eu.a.*"}); member != "" || !ok {
		t.Errorf("what greets without the name of a member is asked as %q", member)
	}
}

// TestBackupOfNobody: a backup that says to be of what can be no member, region
// or cluster is refused in one line.
func TestBackupOfNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for name, change := range map[string]func(*backup.Header){
		"member":  func(h *backup.Header) { h.Member = "two\nlines" },
		"region":  func(h *backup.Header) { h.Region = "" },
		"cluster": func(h *backup.Header) { h.Cluster = "a b" },
	} {
		h := backup.Header{Cluster: "c", Shards: 1, Member: "eu", Region: "eu"}
		change(&h)
		writeBackup(t, path, h)
		r := Restore{Files: []string{path}}
		if _, _, err := r.check(t.Context()); !errors.Is(err, backup.ErrDamaged) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
