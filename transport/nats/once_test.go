package nats_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// TestServedOnceWhileRegionsLinkUp: while another region comes and goes,
// every request is served by at most one member. This is why each region has
// request subjects of its own: where two shared one, about one link-up in
// seventy had a request served by both.
func TestServedOnceWhileRegionsLinkUp(t *testing.T) {
	const clients, linkUps = 32, 20
	var served sync.Map // the requests, by text
	var twice atomic.Int64
	start := func(o nats.Options) *nats.Server {
		o.SolicitDelay = 5 * time.Millisecond
		s, err := nats.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, s, transport.AllRequests(o.Region), transport.OwnersGroup, func(_ context.Context, m transport.Message) ([]byte, error) {
			if _, was := served.LoadOrStore(string(m.Data), true); was {
				twice.Add(1)
			}
			return nil, nil
		})
		return s
	}
	eu := start(nats.Options{Region: "eu", Name: "eu-1"})
	defer eu.Close()

	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop()
	var requests, answers atomic.Int64
	for range clients {
		client, err := nats.Dial(ctx, []string{eu.Addresses().Client}, nats.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		asking.Go(func() {
			defer client.Close()
			for ctx.Err() == nil {
				text := strconv.FormatInt(requests.Add(1), 10)
				if _, err := client.Request(ctx, transport.Requests("eu", 1, transport.Trusted), []byte(text)); err == nil {
					answers.Add(1)
				}
			}
		})
	}
	for range linkUps {
		us := start(nats.Options{Region: "us", Name: "us-1", Gateways: map[string][]string{"eu": {eu.Addresses().Gateway}}})
		eventually(t, "eu sends to us", func() bool { return eu.Gateways()["us"].Outbound == 1 })
		before := answers.Load()
		eventually(t, "requests go on", func() bool { return answers.Load() > before+100 })
		us.Close()
	}
	t.Logf("%d requests, %d answers", requests.Load(), answers.Load())
	if n := twice.Load(); n > 0 {
		t.Errorf("%d requests were served twice", n)
	}
}
