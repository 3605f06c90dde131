package worker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnBattery(t *testing.T) {
	for _, c := range []struct {
		name     string
		supplies map[string]map[string]string
		want     bool
	}{
		{"a desktop", nil, false},
		{"a laptop on mains", map[string]map[string]string{
			"AC": {"type": "Mains", "online": "1"}, "BAT0": {"type": "Battery", "status": "Charging"}}, false},
		{"a laptop on battery", map[string]map[string]string{
			"AC": {"type": "Mains", "online": "0"}, "BAT0": {"type": "Battery", "status": "Discharging"}}, true},
		{"mains too weak for the load", map[string]map[string]string{
			"AC": {"type": "Mains", "online": "1"}, "BAT0": {"type": "Battery", "status": "Discharging"}}, false},
		{"a desktop with a wireless mouse", map[string]map[string]string{
			"mouse": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, false},
		{"no mains supply listed", map[string]map[string]string{
			"BAT0": {"type": "Battery", "status": "Full"}, "BAT1": {"type": "Battery", "status": "Discharging"}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for s, attributes := range c.supplies {
				for a, v := range attributes {
					if err := os.MkdirAll(filepath.Join(dir, s), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(dir, s, a), []byte(v+"\n"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := OnBattery(dir); got != c.want {
				t.Errorf("OnBattery = %v, want %v", got, c.want)
			}
		})
	}
	if OnBattery(filepath.Join(t.TempDir(), "absent")) {
		t.Error("OnBattery without power supplies = true")
	}
}
