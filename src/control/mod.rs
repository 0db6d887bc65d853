//! How others command the switch.
