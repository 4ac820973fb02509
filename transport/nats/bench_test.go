package nats_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

func benchMember(b *testing.B) *nats.Server {
	b.Helper()
	member, err := nats.Start(b.Context(), nats.Options{Region: "eu", Name: "eu-1"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { member.Close() })
	return member
}

func BenchmarkRequest(b *testing.B) {
	member := benchMember(b)
	if _, err := member.Serve("kv.1", "owners", echo); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 200)
	ctx := context.Background()
	ask := func() {
		if _, err := member.Request(ctx, "kv.1", data); err != nil {
			b.Error(err)
		}
	}
	b.Run("callers=1", func(b *testing.B) {
		for b.Loop() {
			ask()
		}
	})
	b.Run("callers=64", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				ask()
			}
		})
	})
}

func BenchmarkPublish(b *testing.B) {
	member := benchMember(b)
	var received atomic.Int64
	done := make(chan struct{}, 1)
	if _, err := member.Subscribe("delta.*", func(m transport.Message) {
		received.Add(1)
		if len(m.Data) == 0 {
			done <- struct{}{}
		}
	}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 200)
	for b.Loop() {
		if err := member.Publish("delta.1", data); err != nil {
			b.Fatal(err)
		}
	}
	if err := member.Publish("delta.1", nil); err != nil {
		b.Fatal(err)
	}
	<-done
	b.ReportMetric(float64(received.Load())/float64(b.N), "received/op")
}
