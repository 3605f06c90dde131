package worker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pauseEvery is how often the power supply is looked at; on some laptops that takes the firmware
// 100 ms.
const pauseEvery = 10 * time.Second

// watchPause follows cfg.Paused until ctx ends.
func (w *Worker) watchPause(ctx context.Context) {
	tick := time.NewTicker(pauseEvery)
	defer tick.Stop()
	for {
		w.setPaused(w.cfg.Paused())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// setPaused tells the coordinator of a change and gives back what has not started.
func (w *Worker) setPaused(paused bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if paused == w.paused {
		return
	}
	w.paused = paused
	w.log.Info("power supply changed", "paused", paused)
	if paused {
		w.giveBackAll(errPaused)
	}
	w.sendBeat()
}

// OnBattery reports whether the machine draws on a battery, as the directory of power supplies
// (/sys/class/power_supply, see sysfs-class-power in the kernel's documentation) tells: a battery
// of the system is discharging and no mains supply is online. Batteries of mice and the like say
// scope "Device" and do not count. Without such a directory it is false.
func OnBattery(dir string) bool {
	supplies, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	discharging := false
	for _, s := range supplies {
		attribute := func(name string) string {
			b, err := os.ReadFile(filepath.Join(dir, s.Name(), name))
			if err != nil {
				return ""
			}
			return strings.TrimSpace(string(b))
		}
		switch attribute("type") {
		case "Mains", "USB":
			if attribute("online") == "1" {
				return false
			}
		case "Battery":
			if attribute("status") == "Discharging" && attribute("scope") != "Device" {
				discharging = true
			}
		}
	}
	return discharging
}
