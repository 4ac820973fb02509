package metrics

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/atolldb/atoll/internal/store/memstore"
	"github.com/atolldb/atoll/replica"
)

// scrape returns the answer to one scrape.
func scrape(h http.Handler) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer
}

// sampled returns a sample in which everything is told.
func sampled(t *testing.T) Sample {
	t.Helper()
	engine, err := replica.Open(replica.Options{Cluster: "c", Member: "m", Shards: 4}, memstore.New())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	s := Sample{Cluster: "c", Member: "m", Region: "eu", Version: "1", Ready: true, Engine: engine.Measure()}
	s.Engine.Peers = []replica.PeerLag{{Member: "n", Region: "us", Lag: 7, Age: 1500 * time.Millisecond, Behind: 3, Silent: time.Second}}
	s.Network.Regions = map[string]bool{"us": true, "ap": false}
	s.Store = Store{Used: 1, Free: 2, Reserve: 3}
	s.Engine.Commits.Buckets[1], s.Engine.Commits.Buckets[len(replica.TimeBounds)] = 2, 1
	s.Engine.Commits.Sum = 7 * time.Second
	return s
}

func TestScrape(t *testing.T) {
	s := sampled(t)
	answer := scrape(Handler(func() Sample { return s }))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	text := answer.Body.String()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "atoll_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, want := range []string{
		`atoll_member_info{cluster="c",member="m",region="eu",version="1"} 1`,
		`atoll_ready 1`,
		`atoll_operations_total{operation="counter_add",result="ok"} 0`,
		`atoll_request_duration_seconds_count{consistency="local-quorum",kind="read"} 0`,
		`atoll_commit_duration_seconds_bucket{le="0.0001"} 0`,
		`atoll_commit_duration_seconds_bucket{le="0.00025"} 2`,
		`atoll_commit_duration_seconds_bucket{le="5"} 2`,
		`atoll_commit_duration_seconds_bucket{le="+Inf"} 3`,
		`atoll_commit_duration_seconds_sum 7`,
		`atoll_peer_lag_events{peer="n",peer_region="us"} 7`,
		`atoll_peer_lag_seconds{peer="n",peer_region="us"} 1.5`,
		`atoll_peer_behind_events{peer="n",peer_region="us"} 3`,
		`atoll_region_connected{peer_region="ap"} 0`,
		`atoll_region_connected{peer_region="us"} 1`,
		`atoll_shards 5`,
		`atoll_members{state="alive"} 1`,
		`atoll_divergences_total 0`,
		`atoll_disk_free_bytes 2`,
		`go_goroutines `,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no line %q", want)
		}
	}
}

// Whatever the engine counts is told, and nothing that it does not count.
func TestEveryCounterIsTold(t *testing.T) {
	s := sampled(t)
	counts := slices.Sorted(maps.Keys(s.Engine.Counters))
	if told := slices.Sorted(maps.Keys(counted)); !slices.Equal(counts, told) {
		t.Errorf("the engine counts\n%v; families.go tells\n%v", counts, told)
	}
}

// Only so many scrapes are answered at once; the others are refused.
func TestScrapesAreBounded(t *testing.T) {
	s := sampled(t)
	in, release := make(chan struct{}, maxScrapes), make(chan struct{})
	h := Handler(func() Sample {
		in <- struct{}{}
		<-release
		return s
	})
	var scrapes sync.WaitGroup
	for range maxScrapes {
		scrapes.Go(func() {
			if answer := scrape(h); answer.Code != http.StatusOK {
				t.Errorf("%d: %s", answer.Code, answer.Body)
			}
		})
	}
	for range maxScrapes {
		<-in
	}
	if answer := scrape(h); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("one too many is answered with %d", answer.Code)
	}
	close(release)
	scrapes.Wait()
}
