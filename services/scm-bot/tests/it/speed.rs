//! How fast the simulation is.
use crate::sim::Sim;
#[test]
fn speed() {
    let begin = std::time::Instant::now();
    for _ in 0..50 {
        let mut sim = Sim::new();
        sim.told(1, "author", "/ship");
    }
    println!("ship: {:?} each", begin.elapsed() / 50);
    let begin = std::time::Instant::now();
    for _ in 0..50 {
        Sim::new();
    }
    println!("sim: {:?} each", begin.elapsed() / 50);
    let begin = std::time::Instant::now();
    for _ in 0..50 {
        kfops_project::Project::load(&kfops_project::Memory::new().with("kfops.yaml", crate::repository::PROJECT))
            .unwrap();
    }
    println!("load: {:?} each", begin.elapsed() / 50);
}
