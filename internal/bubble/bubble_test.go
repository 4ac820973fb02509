package bubble_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/bubble"
)

// TestTimersAtTheSameMoment has goroutines find many timers expired, all at once,
// and starts one by a timer: with the race detector and several processors that
// crashes, unless Test sees to it.
func TestTimersAtTheSameMoment(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	bubble.Test(t, func(*testing.T) {
		for range 200 {
			var timers [4][50]*time.Timer
			for i := range timers {
				for j := range timers[i] {
					timers[i][j] = time.NewTimer(time.Nanosecond)
				}
			}
			time.Sleep(time.Millisecond)
			var receivers sync.WaitGroup
			for _, own := range timers {
				receivers.Go(func() {
					for _, timer := range own {
						<-timer.C
					}
				})
			}
			receivers.Wait()
			fired := make(chan struct{})
			time.AfterFunc(time.Nanosecond, func() { close(fired) })
			<-fired
		}
	})
	if n := runtime.GOMAXPROCS(0); n != processors {
		t.Errorf("%d processors after it; want the %d from before", n, processors)
	}
}

func TestWait(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		began, woken := time.Now(), false
		var asleep sync.WaitGroup
		asleep.Go(func() { time.Sleep(time.Hour); woken = true })
		bubble.Wait()
		if !time.Now().Equal(began) {
			t.Error("time passed while there was a sleeper only")
		}
		asleep.Wait()
		if !woken || time.Since(began) != time.Hour {
			t.Errorf("woken %t after %v; want an hour", woken, time.Since(began))
		}
	})
}
