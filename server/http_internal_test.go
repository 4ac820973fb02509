package server

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// ask returns what a handler answers.
func ask(h http.Handler, method, path, body string, header ...string) (code int, text string) {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer.Code, answer.Body.String()
}

// Before a member serves, and when its disk has failed, the door says so in one
// line.
func TestDoorWithoutMember(t *testing.T) {
	d := &door{}
	routes := d.routes(false)
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/metrics": http.StatusServiceUnavailable} {
		code, text := ask(routes, http.MethodGet, path, "")
		if code != want || strings.Count(text, "\n") != 1 || want != http.StatusOK && !strings.Contains(text, "starting") {
			t.Errorf("%s while it starts: %d, %q", path, code, text)
		}
	}
	d.serves(&Server{failed: func() error { return errors.New("the disk\nis gone") }})
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, text := ask(routes, http.MethodGet, path, ""); code != http.StatusServiceUnavailable || text != "the disk is gone\n" {
			t.Errorf("%s with a disk that has failed: %d, %q", path, code, text)
		}
	}
	d.stops()
	if code, text := ask(routes, http.MethodGet, "/readyz", ""); code != http.StatusServiceUnavailable || !strings.Contains(text, "stopping") {
		t.Errorf("/readyz while it stops: %d, %q", code, text)
	}
}

func TestLogLevel(t *testing.T) {
	d := &door{level: new(slog.LevelVar)}
	routes := d.routes(false)
	for _, level := range []string{"debug", "INFO", "warn\n", "error"} {
		if code, text := ask(routes, http.MethodPut, "/loglevel", level); code != http.StatusOK {
			t.Errorf("%q: %d, %s", level, code, text)
		}
		if _, text := ask(routes, http.MethodGet, "/loglevel", ""); strings.TrimSpace(text) != strings.ToLower(strings.TrimSpace(level)) {
			t.Errorf("after %q it is %q", level, text)
		}
	}
	for _, body := range []string{"", "loud", "info debug", strings.Repeat("i", 1<<20)} {
		code, text := ask(routes, http.MethodPut, "/loglevel", body)
		if code != http.StatusBadRequest || !strings.Contains(text, levelNames) {
			t.Errorf("%.20q: %d, %q", body, code, text)
		}
	}
	if d.level.Level() != slog.LevelError {
		t.Errorf("what makes no sense has set it to %v", d.level.Level())
	}
	if code, _ := ask(routes, http.MethodPost, "/loglevel", "info"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	if code, _ := ask((&door{}).routes(false), http.MethodPut, "/loglevel", "info"); code != http.StatusNotFound {
		t.Errorf("a log of which the level is not known: %d", code)
	}
}

// A page in a browser cannot change anything here behind its user's back.
func TestNoOrdersOfOtherPages(t *testing.T) {
	d := &door{level: new(slog.LevelVar), places: make(chan struct{}, 1)}
	h := d.handler(false)
	if code, _ := ask(h, http.MethodPut, "/loglevel", "debug", "Sec-Fetch-Site", "cross-site"); code != http.StatusForbidden {
		t.Errorf("an order of another page: %d", code)
	}
	if d.level.Level() != slog.LevelInfo {
		t.Errorf("it is %v now", d.level.Level())
	}
	if code, _ := ask(h, http.MethodPut, "/loglevel", "debug"); code != http.StatusOK {
		t.Errorf("an order of no page: %d", code)
	}
}

// Profiles are served to who has asked for them, without the command line, which
// may hold a secret.
func TestProfiles(t *testing.T) {
	for profiles, want := range map[bool]int{false: http.StatusNotFound, true: http.StatusOK} {
		routes := (&door{}).routes(profiles)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/symbol"} {
			if code, _ := ask(routes, http.MethodGet, path, ""); code != want {
				t.Errorf("pprof %v: %s is answered with %d", profiles, path, code)
			}
		}
		if code, _ := ask(routes, http.MethodGet, "/debug/pprof/cmdline", ""); code != http.StatusNotFound {
			t.Errorf("pprof %v: the command line is answered with %d", profiles, code)
		}
	}
}

// Only so many requests are answered at once.
func TestDoorIsBounded(t *testing.T) {
	d := &door{places: make(chan struct{}, 3)}
	in, release := make(chan struct{}), make(chan struct{})
	h := d.bounded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		in <- struct{}{}
		<-release
		say(w, http.StatusOK, "done")
	}))
	var requests sync.WaitGroup
	for range cap(d.places) {
		requests.Go(func() {
			if code, text := ask(h, http.MethodGet, "/", ""); code != http.StatusOK {
				t.Errorf("%d, %q", code, text)
			}
		})
		<-in
	}
	if code, _ := ask(h, http.MethodGet, "/", ""); code != http.StatusServiceUnavailable {
		t.Errorf("one too many is answered with %d", code)
	}
	close(release)
	requests.Wait()
	go func() { <-in }()
	if code, _ := ask(h, http.MethodGet, "/", ""); code != http.StatusOK {
		t.Errorf("one more is answered with %d", code)
	}
}
