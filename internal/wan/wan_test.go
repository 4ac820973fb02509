package wan_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/wan"
)

const (
	patience = 10 * time.Second
	// settleFor is how long a test watches for bytes that must not come.
	settleFor = 50 * time.Millisecond
)

func newNetwork(t *testing.T, regions ...string) *wan.Network {
	t.Helper()
	n, err := wan.New(regions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// gateway greets, reads who dials, and then echoes, its name before each line.
func gateway(t *testing.T, name string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				fmt.Fprintf(conn, "INFO {}\r\n")
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if _, err := fmt.Fprintf(conn, "%s %s\r\n", name, lines.Text()); err != nil {
						return
					}
				}
			})
		}
	})
	return listener.Addr().String()
}

// peer is a gateway that dialled.
type peer struct {
	net.Conn
	lines *bufio.Reader
}

func dial(t *testing.T, n *wan.Network, to string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", n.Addresses()[to][0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{conn, bufio.NewReader(conn)}
}

// connect dials and introduces itself.
func connect(t *testing.T, n *wan.Network, from, to string) *peer {
	t.Helper()
	p := dial(t, n, to)
	p.expect(t, "INFO {}")
	p.say(t, fmt.Sprintf("CONNECT {\"gateway\":%q}", from))
	if got := p.next(t); !strings.Contains(got, "CONNECT") {
		t.Fatalf("received %q", got)
	}
	return p
}

func (p *peer) say(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintf(p, "%s\r\n", line); err != nil {
		t.Fatal(err)
	}
}

func (p *peer) read(timeout time.Duration) (string, error) {
	if err := p.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	line, err := p.lines.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}

func (p *peer) next(t *testing.T) string {
	t.Helper()
	line, err := p.read(patience)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func (p *peer) expect(t *testing.T, want string) {
	t.Helper()
	if got := p.next(t); got != want {
		t.Fatalf("received %q, want %q", got, want)
	}
}

// expectEnd waits for the connection to break.
func (p *peer) expectEnd(t *testing.T) {
	t.Helper()
	line, err := p.read(patience)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("received %q, %v, want the connection to end", line, err)
	}
}

// expectReset dials and is not let through; dialling itself may notice.
func expectReset(t *testing.T, n *wan.Network, to string) {
	t.Helper()
	conn, err := net.Dial("tcp", n.Addresses()[to][0])
	if err != nil {
		return
	}
	defer conn.Close()
	(&peer{conn, bufio.NewReader(conn)}).expectEnd(t)
}

func (p *peer) expectSilence(t *testing.T) {
	t.Helper()
	if line, err := p.read(settleFor); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("received %q, %v, want silence", line, err)
	}
}

func threeRegions(t *testing.T) *wan.Network {
	t.Helper()
	n := newNetwork(t, "eu", "us", "ap")
	for _, region := range []string{"eu", "us", "ap"} {
		n.Attach(region, gateway(t, region))
	}
	return n
}

func TestPassesAndCounts(t *testing.T) {
	n := threeRegions(t)
	p := connect(t, n, "eu", "us")
	p.say(t, "hello")
	p.expect(t, "us hello")
	sent := int64(len("CONNECT {\"gateway\":\"eu\"}\r\nhello\r\n"))
	if got := n.Bytes("eu", "us"); got != sent {
		t.Errorf("%d bytes from eu to us, want %d", got, sent)
	}
	if got, want := n.Bytes("us", "eu"), sent+int64(len("INFO {}\r\n"+"us "+"us ")); got != want {
		t.Errorf("%d bytes from us to eu, want %d", got, want)
	}
	if n.Bytes("eu", "ap") != 0 || n.Bytes("ap", "us") != 0 {
		t.Error("bytes were counted on other ways")
	}
}

func TestLargeTransfer(t *testing.T) {
	n := threeRegions(t)
	n.SetDelay("eu", "us", 5*time.Millisecond)
	p := connect(t, n, "eu", "us")
	const lines = 2000
	go func() {
		for i := range lines {
			fmt.Fprintf(p, "%d %s\r\n", i, strings.Repeat("x", 10_000))
		}
	}()
	for i := range lines {
		if got := p.next(t); len(got) < 10_000 || !strings.HasPrefix(got, fmt.Sprintf("us %d ", i)) {
			t.Fatalf("line %d is %.20q", i, got)
		}
	}
}

func TestResetCut(t *testing.T) {
	n := threeRegions(t)
	euToUS, usToEU, usToAP := connect(t, n, "eu", "us"), connect(t, n, "us", "eu"), connect(t, n, "us", "ap")
	n.Cut("eu", wan.Reset)
	for _, p := range []*peer{euToUS, usToEU} {
		if _, err := p.read(patience); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("err = %v, want ECONNRESET", err)
		}
	}
	usToAP.say(t, "still here")
	usToAP.expect(t, "ap still here")

	expectReset(t, n, "eu") // not even a greeting
	p := dial(t, n, "us")   // who dials is known only after the greeting
	p.expect(t, "INFO {}")
	before := n.Bytes("eu", "us")
	p.say(t, `CONNECT {"gateway":"eu"}`)
	p.expectEnd(t)
	if n.Bytes("eu", "us") != before {
		t.Error("bytes crossed the cut")
	}

	n.Heal("eu")
	connect(t, n, "eu", "us")
	connect(t, n, "us", "eu")
}

func TestSilentCut(t *testing.T) {
	n := threeRegions(t)
	old := connect(t, n, "eu", "us")
	n.Cut("us", wan.Silent)
	old.say(t, "during")
	old.expectSilence(t)
	late := dial(t, n, "us")
	late.expectSilence(t)
	n.Heal("us")
	old.expect(t, "us during")
	late.expect(t, "INFO {}")

	// A silent cut of the dialling side, found by its name.
	n.Cut("eu", wan.Silent)
	before := n.Bytes("eu", "us")
	late.say(t, `CONNECT {"gateway":"eu"}`)
	late.expectSilence(t)
	old.expectSilence(t)
	if n.Bytes("eu", "us") != before {
		t.Error("bytes crossed the cut")
	}
	n.Cut("eu", wan.Reset) // what waits is reset, too
	old.expectEnd(t)
	late.expectEnd(t)
}

// A gateway that comes up behind a silent cut does not greet through it.
func TestSilentCutHoldsGreeting(t *testing.T) {
	n := newNetwork(t, "eu", "us")
	p := dial(t, n, "us")
	p.expectSilence(t) // it waits for a gateway
	n.Cut("us", wan.Silent)
	n.Attach("us", gateway(t, "us"))
	p.expectSilence(t)
	n.Heal("us")
	p.expect(t, "INFO {}")
}

func TestSenderWaits(t *testing.T) {
	n := threeRegions(t)
	p := connect(t, n, "eu", "us")
	n.SetDelay("eu", "us", time.Hour)
	data, sent := make([]byte, 1<<20), 0
	for {
		if err := p.SetWriteDeadline(time.Now().Add(10 * settleFor)); err != nil {
			t.Fatal(err)
		}
		count, err := p.Write(data)
		if sent += count; err != nil {
			break
		}
		if sent > 100<<20 {
			t.Fatalf("%d bytes are under way", sent)
		}
	}
}

func TestCutBetween(t *testing.T) {
	n := threeRegions(t)
	euToUS, usToEU, euToAP := connect(t, n, "eu", "us"), connect(t, n, "us", "eu"), connect(t, n, "eu", "ap")
	n.CutBetween("us", "eu", wan.Reset)
	euToUS.expectEnd(t)
	usToEU.expectEnd(t)
	euToAP.say(t, "hello")
	euToAP.expect(t, "ap hello")

	n.Cut("us", wan.Reset)
	n.Heal("us") // ends that cut only
	p := dial(t, n, "us")
	p.expect(t, "INFO {}")
	p.say(t, `CONNECT {"gateway":"eu"}`)
	p.expectEnd(t)
	n.HealBetween("eu", "us")
	connect(t, n, "eu", "us")
}

func TestDelay(t *testing.T) {
	const delay = 40 * time.Millisecond
	n := threeRegions(t)
	p := connect(t, n, "eu", "us")
	for _, c := range []struct {
		from, to string
		least    time.Duration
	}{{"eu", "us", delay}, {"us", "eu", 2 * delay}, {"eu", "ap", 2 * delay}} {
		n.SetDelay(c.from, c.to, delay)
		began := time.Now()
		p.say(t, "hello")
		p.expect(t, "us hello")
		if took := time.Since(began); took < c.least {
			t.Errorf("a round trip took %v, want at least %v", took, c.least)
		}
	}
}

// A reset drops what is still under way.
func TestResetDropsDelayed(t *testing.T) {
	n := threeRegions(t)
	p := connect(t, n, "eu", "us")
	crossed := n.Bytes("eu", "us")
	n.SetDelay("eu", "us", time.Hour)
	p.say(t, "under way")
	n.Cut("eu", wan.Reset)
	p.expectEnd(t)
	if n.Bytes("eu", "us") != crossed {
		t.Error("bytes crossed the cut")
	}
}

func TestGatewaysTakeTurns(t *testing.T) {
	n := newNetwork(t, "eu", "us")
	waiting := dial(t, n, "us")
	waiting.expectSilence(t) // nobody there yet
	first, second := gateway(t, "us-1"), gateway(t, "us-2")
	n.Attach("us", first)
	waiting.expect(t, "INFO {}")
	n.Attach("us", second)

	names := func() map[string]int {
		met := map[string]int{}
		for range 4 {
			p := connect(t, n, "eu", "us")
			p.say(t, "hello")
			met[p.next(t)]++
		}
		return met
	}
	if met := names(); met["us-1 hello"] != 2 || met["us-2 hello"] != 2 {
		t.Errorf("met %v", met)
	}
	n.Detach("us", first)
	if met := names(); met["us-2 hello"] != 4 {
		t.Errorf("met %v after one was detached", met)
	}
}

func TestGatewayDown(t *testing.T) {
	n := newNetwork(t, "eu", "us")
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down.Close()
	n.Attach("us", down.Addr().String())
	expectReset(t, n, "us")
	n.Attach("us", gateway(t, "us-2"))
	for range 4 {
		connect(t, n, "eu", "us")
	}
}

func TestStrangersAreReset(t *testing.T) {
	n := threeRegions(t)
	for _, line := range []string{
		"PING", `CONNECT {"gateway":"mars"}`, `CONNECT {"gateway":"us"}`, `CONNECT {}`, "CONNECT nonsense", strings.Repeat("x", 100_000),
	} {
		p := dial(t, n, "us")
		p.expect(t, "INFO {}")
		fmt.Fprintf(p, "%s\r\n", line) // may fail half-way
		p.expectEnd(t)
	}
}

// Either side's end ends the other, after what was sent.
func TestEndPassesOn(t *testing.T) {
	n := newNetwork(t, "eu", "us")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	n.Attach("us", listener.Addr().String())
	for _, dialerEnds := range []bool{true, false} {
		p := dial(t, n, "us")
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "INFO {}\r\n")
		p.expect(t, "INFO {}")
		p.say(t, `CONNECT {"gateway":"eu"}`)
		gateway := &peer{conn, bufio.NewReader(conn)}
		gateway.next(t)
		near, far := p, gateway
		if !dialerEnds {
			near, far = far, near
		}
		near.say(t, "last words")
		near.Close()
		far.expect(t, "last words")
		if _, err := far.read(patience); !errors.Is(err, io.EOF) {
			t.Errorf("err = %v, want EOF", err)
		}
	}
}

func TestUnknownRegionPanics(t *testing.T) {
	n := newNetwork(t, "eu", "us")
	for name, call := range map[string]func(){
		"Cut":      func() { n.Cut("mars", wan.Reset) },
		"Heal":     func() { n.Heal("mars") },
		"Attach":   func() { n.Attach("mars", "127.0.0.1:1") },
		"Bytes":    func() { n.Bytes("eu", "mars") },
		"SetDelay": func() { n.SetDelay("eu", "eu", 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of an unknown region did not panic", name)
				}
			}()
			call()
		}()
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	n, err := wan.New("eu", "us", "ap")
	if err != nil {
		t.Fatal(err)
	}
	dial(t, n, "ap") // waits for a gateway
	address := gateway(t, "us")
	n.Attach("us", address)
	p := connect(t, n, "eu", "us")
	dial(t, n, "us") // says nothing
	n.Cut("eu", wan.Silent)
	p.say(t, "hello")
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.expectEnd(t)
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > before+1 { // +1: the gateway's accept loop ends with the test
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}
