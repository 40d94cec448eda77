SELECT item_id, name, price
FROM items
WHERE price >= $cheapest
