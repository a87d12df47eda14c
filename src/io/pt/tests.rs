use super::pickle::{Pickle, Value};

#[test]
fn a_pickle_is_data() {
    // {"a": (1, 2.5, [None]), "b": <the same list>} with the list remembered before it is filled.
    let bytes =
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01G\x40\x04\x00\x00\x00\x00\x00\x00]q\x01Na\x87X\x01\x00\x00\x00bh\x01u.";
    let pickle = Pickle::parse(bytes).unwrap();
    let Value::Dict(entries) = pickle.get(pickle.root()) else { panic!("no dictionary") };
    let Value::Tuple(items) = pickle.get(entries[0].1) else { panic!("no tuple") };
    assert_eq!((pickle.get(items[0]), pickle.get(items[1])), (&Value::Int(1), &Value::Float(2.5)));
    assert_eq!(items[2], entries[1].1);
    assert!(matches!(pickle.get(items[2]), Value::List(list) if list.len() == 1));
}
