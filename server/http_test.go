package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/server"
)

// withDoor has a member serve HTTP.
func withDoor(c server.Config) server.Config {
	c.Listen.HTTP = "127.0.0.1:0"
	return c
}

// open asks a member by HTTP.
func open(t *testing.T, s *server.Server, path string) (code int, text string) {
	t.Helper()
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://" + s.HTTP() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// becomes waits until a path is answered with a code, and with all of the text.
func becomes(t *testing.T, s *server.Server, path string, want int, text ...string) {
	t.Helper()
	eventually(t, fmt.Sprint(path, " is answered with ", want, " ", text), func() bool {
		code, body := open(t, s, path)
		return code == want && !slices.ContainsFunc(text, func(part string) bool { return !strings.Contains(body, part) })
	})
}

// A member is reached only where it was told to be.
func TestNoDoorByDefault(t *testing.T) {
	s := start(t, alone(t.TempDir()))
	defer stop(t, s)
	if s.HTTP() != "" {
		t.Errorf("it serves HTTP on %s", s.HTTP())
	}
}

// What happens to a member shows in what it tells.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	config := withDoor(alone(filepath.Join(dir, "eu")))
	config.LogLevel = new(slog.LevelVar)
	eu := start(t, config)
	defer stop(t, eu)
	becomes(t, eu, "/readyz", http.StatusOK, "ok")
	if _, err := eu.Client().Counter("k").Add(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := eu.Client().Counter("k").Value(t.Context()); err != nil {
		t.Fatal(err)
	}
	becomes(t, eu, "/metrics", http.StatusOK,
		`atoll_operations_total{operation="counter_add",result="ok"} 1`,
		`atoll_operations_total{operation="counter_get",result="ok"} 1`,
		`atoll_request_duration_seconds_count{consistency="one",kind="write"} 1`,
		`atoll_member_info{cluster="atoll",member="eu",region="eu",version="`+server.Version+`"} 1`,
		"atoll_ready 1", "atoll_network_connected 1", "atoll_shards 17", "atoll_store_failed 0", "process_open_fds",
	)

	config = withDoor(alone(filepath.Join(dir, "us")))
	config.Region, config.Regions = "us", map[string][]string{"eu": {eu.Addresses().Gateway}, "ap": {"127.0.0.1:9"}}
	us := start(t, config)
	becomes(t, us, "/readyz", http.StatusOK, "ok")
	becomes(t, us, "/metrics", http.StatusOK,
		`atoll_members{state="alive"} 2`, `atoll_region_connected{peer_region="eu"} 1`, `atoll_region_connected{peer_region="ap"} 0`,
		`atoll_peer_behind_events{peer="eu",peer_region="eu"} 0`, `atoll_peer_lag_events{peer="eu",peer_region="eu"} 0`,
	)
	becomes(t, eu, "/metrics", http.StatusOK, `atoll_region_connected{peer_region="us"} 1`)
	stop(t, us)
	becomes(t, eu, "/metrics", http.StatusOK, `atoll_members{state="left"} 1`)
	becomes(t, eu, "/readyz", http.StatusOK, "ok")
	becomes(t, eu, "/healthz", http.StatusOK, "ok")
	becomes(t, eu, "/loglevel", http.StatusOK, "info")
}

// One that was started empty is not ready before it has met those it was told
// of; and is, without them, when it has met them once.
func TestReadiness(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0") // where nobody of the cluster is
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config := withDoor(alone(filepath.Join(dir, "us")))
	config.Region, config.Regions = "us", map[string][]string{"eu": {taken.Addr().String()}}
	us := start(t, config)
	if code, text := open(t, us, "/readyz"); code != http.StatusServiceUnavailable || text != "it was told of other members, and has met none yet\n" {
		t.Errorf("before it has met anybody: %d, %q", code, text)
	}
	if code, text := open(t, us, "/healthz"); code != http.StatusOK {
		t.Errorf("it is not well: %d, %q", code, text)
	}
	stop(t, us)

	eu := start(t, alone(filepath.Join(dir, "eu")))
	config.Regions["eu"] = []string{eu.Addresses().Gateway}
	us = start(t, config)
	becomes(t, us, "/readyz", http.StatusOK)
	stop(t, eu)
	stop(t, us)
	us = start(t, config)
	defer stop(t, us)
	if code, text := open(t, us, "/readyz"); code != http.StatusOK {
		t.Errorf("alone, with all that it had: %d, %q", code, text)
	}
}

// A door is closed with its member, whoever still holds a connection, and also
// if the member could not be started.
func TestDoorIsClosed(t *testing.T) {
	dir := t.TempDir()
	stop(t, start(t, withDoor(alone(dir))))
	before := runtime.NumGoroutine()
	s := start(t, withDoor(alone(dir)))
	address := s.HTTP()
	idle, err := net.Dial("tcp", address) // says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	becomes(t, s, "/healthz", http.StatusOK)
	began := time.Now()
	stop(t, s)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	noneLeft(t, before)
	config := alone(dir)
	config.Listen.HTTP, config.Cluster = address, "other"
	for range 2 { // the second one finds the port free again
		if _, err := server.Start(t.Context(), config, nil); err == nil || strings.Contains(err.Error(), "in use") {
			t.Errorf("a member of another cluster: %v", err)
		}
	}
	noneLeft(t, before)
}

var (
	metricName = regexp.MustCompile(`\batoll_[a-z_]+`)
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
)

// exposed returns the metrics that a member with a peer tells, with their types.
func exposed(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	eu := start(t, withDoor(alone(filepath.Join(dir, "eu"))))
	t.Cleanup(func() { stop(t, eu) })
	config := alone(filepath.Join(dir, "us"))
	config.Region, config.Regions = "us", map[string][]string{"eu": {eu.Addresses().Gateway}}
	us := start(t, config)
	t.Cleanup(func() { stop(t, us) })
	becomes(t, eu, "/metrics", http.StatusOK, `atoll_peer_lag_events{peer="us"`, `atoll_region_connected{peer_region="us"}`)
	_, text := open(t, eu, "/metrics")
	types := map[string]string{}
	for _, m := range typeLine.FindAllStringSubmatch(text, -1) {
		types[m[1]] = m[2]
	}
	return types
}

// Every metric is described to those who operate a member, and none that there
// is not; the dashboard shows only what there is.
func TestMetricsAreDescribed(t *testing.T) {
	types := exposed(t)
	isExposed := func(name string) bool {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if whole, cut := strings.CutSuffix(name, suffix); cut && types[whole] == "histogram" {
				return true
			}
		}
		return types[name] != ""
	}
	manual, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for line := range strings.Lines(string(manual)) {
		for _, name := range metricName.FindAllString(line, -1) {
			if !isExposed(name) {
				t.Errorf("docs/operating.md speaks of %s, which no member tells", name)
			}
		}
		if row, isRow := strings.CutPrefix(line, "| `"); isRow {
			name, _, _ := strings.Cut(row, "`")
			if described[name] {
				t.Errorf("docs/operating.md describes %s twice", name)
			}
			described[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if strings.HasPrefix(name, "atoll_") && !described[name] {
			t.Errorf("docs/operating.md has no row for %s", name)
		}
	}
	for _, panel := range dashboard(t) {
		for _, target := range panel.Targets {
			names := regexp.MustCompile(`\b(atoll|go|process)_[a-z_]+`).FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: %q shows no metric of a member", panel.Title, target.Expr)
			}
			for _, name := range names {
				if !isExposed(name) {
					t.Errorf("%s shows %s, which no member tells", panel.Title, name)
				}
			}
		}
	}
}

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct{ RefID, Expr string }
}

// dashboard returns the panels of examples/grafana/atoll.json but for the
// headings.
func dashboard(t *testing.T) (panels []panel) {
	t.Helper()
	file, err := os.Open("../examples/grafana/atoll.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var model struct {
		UID           string
		Title         string
		SchemaVersion int
		Panels        []panel
		Templating    struct {
			List []struct{ Name string }
		}
	}
	if err := json.NewDecoder(file).Decode(&model); err != nil {
		t.Fatal(err)
	}
	if model.UID == "" || model.Title == "" || model.SchemaVersion == 0 || len(model.Panels) == 0 {
		t.Fatalf("it is no dashboard: %+v", model)
	}
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range model.Templating.List {
		variables[v.Name] = true
	}
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range model.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %q has the id %d, which another has, too", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, taken := places[at]; taken || at[0] >= 24 {
					t.Fatalf("panels %q and %q overlap at %v", p.Title, other, at)
				}
				places[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, v := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !variables[v[1]] {
					t.Errorf("panel %q uses the variable %s, which there is not", p.Title, v[1])
				}
			}
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || strings.Count(target.Expr, "{") != strings.Count(target.Expr, "}") {
				t.Errorf("panel %q: %q does not close what it opens", p.Title, target.Expr)
			}
		}
		panels = append(panels, p)
	}
	return panels
}
